import { CaptionsRenderer, VTTCue } from "media-captions";
import { useEffect, useRef } from "preact/hooks";
import type { Playback } from "./playback";

/** The text over the picture, as the exported subtitles will look. */
export function Captions({
  lines,
  playback,
}: {
  lines: readonly { start: number; end: number; text: string }[];
  playback: Playback;
}) {
  const overlay = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!overlay.current) return undefined;
    const renderer = new CaptionsRenderer(overlay.current);
    const cues = lines.map(({ start, end, text }) => new VTTCue(start, end, plain(text)));
    renderer.changeTrack({ cues, regions: [] });
    const stop = playback.time.subscribe((time) => {
      renderer.currentTime = time;
    });
    return () => {
      stop();
      renderer.destroy();
    };
  }, [lines, playback]);
  return <div ref={overlay} class="captions" aria-hidden="true" />;
}

/** Text that WebVTT would read as markup. */
const plain = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
