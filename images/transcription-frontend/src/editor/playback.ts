/** The media element, with its state as signals. The time follows each frame of the screen while it plays. */

import { effect, signal } from "@preact/signals";
import { rate } from "../state/preferences";

export const RATES = [0.5, 0.75, 1, 1.25, 1.5, 2] as const;

export class Playback {
  readonly time = signal(0);
  readonly playing = signal(false);
  readonly failure = signal<string | null>(null);
  private media: HTMLMediaElement | null = null;

  constructor(readonly duration: number) {}

  /** Takes an element into service. Returns what releases it. */
  attach(media: HTMLMediaElement): () => void {
    this.media = media;
    const listening = new AbortController();
    const on = (name: string, listener: () => void): void =>
      media.addEventListener(name, listener, { signal: listening.signal });
    let frame = 0;
    const tick = (): void => {
      this.time.value = media.currentTime;
      if (!media.paused) frame = requestAnimationFrame(tick);
    };
    on("play", () => {
      this.playing.value = true;
      cancelAnimationFrame(frame);
      tick();
    });
    on("pause", () => (this.playing.value = false));
    on("ended", () => (this.playing.value = false));
    on("seeking", () => (this.time.value = media.currentTime));
    on("timeupdate", () => (this.time.value = media.currentTime));
    on("error", () => {
      if (media.error) this.failure.value = explain(media.error);
    });
    const stop = effect(() => {
      media.playbackRate = rate.value;
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
      listening.abort();
      media.pause();
      this.media = null;
    };
  }

  seek(seconds: number): void {
    const time = Math.min(Math.max(0, seconds), this.duration);
    if (this.media) this.media.currentTime = time;
    this.time.value = time;
  }

  skip(seconds: number): void {
    this.seek(this.time.value + seconds);
  }

  toggle(): void {
    if (!this.media) return;
    if (this.media.paused) this.play();
    else this.media.pause();
  }

  play(): void {
    this.media?.play().catch(() => undefined); // the error event, or the browser's rule against sound, tells more
  }

  playFrom(seconds: number): void {
    this.seek(seconds);
    this.play();
  }

  faster(steps: 1 | -1): void {
    const index = RATES.findIndex((each) => each === rate.value);
    rate.value = RATES[Math.min(Math.max(0, (index < 0 ? 2 : index) + steps), RATES.length - 1)] ?? 1;
  }
}

function explain(error: MediaError): string {
  return error.code === MediaError.MEDIA_ERR_NETWORK
    ? "The file could not be read to its end. Load the page again."
    : "This browser cannot play this kind of file. The text can be read and edited all the same.";
}
