import { useEffect, useState } from "preact/hooks";
import { contentUrl } from "../api/client";
import type { Segment } from "../api/types";
import { captions, rate } from "../state/preferences";
import { clock, fileName } from "../text";
import { Icon } from "../parts/icons";
import { Captions } from "./Captions";
import { RATES, type Playback } from "./playback";
import { Waveform } from "./Waveform";

const SKIP_SECONDS = 5;
// Endings of files that hold sound alone; everything else may have a picture.
const SOUND = /\.(aac|flac|m4a|mka|mp3|oga|ogg|opus|wav|wma)$/i;

interface Props {
  path: string;
  playback: Playback;
  lines: readonly { start: number; end: number; text: string }[];
  segment: Segment | undefined;
  moved: (times: { start: number; end: number }) => void;
}

export function Player({ path, playback, lines, segment, moved }: Props) {
  const [media, setMedia] = useState<HTMLMediaElement | null>(null);
  const sound = SOUND.test(path);
  useEffect(() => (media ? playback.attach(media) : undefined), [media, playback]);
  const failure = playback.failure.value;

  return (
    <div class={sound ? "player sound" : "player"}>
      <div class="screen">
        {sound ? (
          <audio ref={setMedia} src={contentUrl(path)} preload="metadata" aria-label={fileName(path)} />
        ) : (
          // Captions are drawn over it, since they follow the edits.
          <video
            ref={setMedia}
            src={contentUrl(path)}
            preload="metadata"
            playsInline
            aria-label={fileName(path)}
            onClick={() => playback.toggle()}
          />
        )}
        {!sound && captions.value && <Captions lines={lines} playback={playback} />}
      </div>
      {failure !== null && (
        <p class="error" role="alert">
          {failure}
        </p>
      )}
      {media && <Waveform path={path} media={media} playback={playback} segment={segment} moved={moved} />}
      <Transport playback={playback} sound={sound} />
    </div>
  );
}

function Transport({ playback, sound }: { playback: Playback; sound: boolean }) {
  const playing = playback.playing.value;
  return (
    <div class="transport" role="group" aria-label="Playback">
      <button
        type="button"
        class="plain"
        aria-label={`Back ${SKIP_SECONDS} seconds`}
        onClick={() => playback.skip(-SKIP_SECONDS)}
      >
        <Icon name="back" />
      </button>
      <button
        type="button"
        class="primary round"
        aria-label={playing ? "Pause" : "Play"}
        onClick={() => playback.toggle()}
      >
        <Icon name={playing ? "pause" : "play"} />
      </button>
      <button
        type="button"
        class="plain"
        aria-label={`Ahead ${SKIP_SECONDS} seconds`}
        onClick={() => playback.skip(SKIP_SECONDS)}
      >
        <Icon name="ahead" />
      </button>
      <Position playback={playback} />
      <span class="spring" />
      {!sound && (
        <label class="check small">
          <input
            type="checkbox"
            checked={captions.value}
            onChange={(event) => (captions.value = event.currentTarget.checked)}
          />
          Captions
        </label>
      )}
      <select
        class="rate"
        aria-label="Speed"
        value={rate.value}
        onChange={(event) => (rate.value = Number(event.currentTarget.value))}
      >
        {RATES.map((each) => (
          <option key={each} value={each}>
            {each} ×
          </option>
        ))}
      </select>
    </div>
  );
}

function Position({ playback }: { playback: Playback }) {
  const time = playback.time.value;
  return (
    <div class="position">
      <span class="number">
        {clock(time)} <span class="muted">/ {clock(playback.duration)}</span>
      </span>
      <input
        type="range"
        aria-label="Position"
        aria-valuetext={clock(time, 0)}
        min={0}
        max={playback.duration}
        step={0.1}
        value={time}
        onInput={(event) => playback.seek(Number(event.currentTarget.value))}
      />
    </div>
  );
}
