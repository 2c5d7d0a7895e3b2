import { useEffect, useRef, useState } from "preact/hooks";
import WaveSurfer from "wavesurfer.js";
import RegionsPlugin, { type Region } from "wavesurfer.js/plugins/regions";
import { getPeaks } from "../api/client";
import type { Segment } from "../api/types";
import { dark } from "../state/preferences";
import { SHORTEST } from "./document";
import type { Playback } from "./playback";

const POINTS_A_SECOND = 20;
const POINTS = { least: 500, most: 20_000 };
const NARROW = "(max-width: 56rem)";
const ZOOM = { most: 200, step: 5 }; // pixels a second; 0 fits the width

type Regions = ReturnType<typeof RegionsPlugin.create>;

interface Props {
  path: string;
  media: HTMLMediaElement;
  playback: Playback;
  segment: Segment | undefined; // whose edges can be dragged
  moved: (times: { start: number; end: number }) => void;
}

/** The loudness of the whole medium; a click seeks, and the edges of the segment in work can be dragged. */
export function Waveform({ path, media, playback, segment, moved }: Props) {
  const container = useRef<HTMLDivElement>(null);
  const [surfer, setSurfer] = useState<WaveSurfer | null>(null);
  const [regions, setRegions] = useState<Regions | null>(null);
  const [zoom, setZoom] = useState(0);
  const { duration } = playback;

  useEffect(() => {
    if (!container.current) return undefined;
    const plugin = RegionsPlugin.create();
    const created = WaveSurfer.create({
      container: container.current,
      media,
      height: matchMedia(NARROW).matches ? 44 : 72,
      peaks: [[0]],
      duration,
      normalize: true,
      dragToSeek: true,
      plugins: [plugin],
      ...colours(),
    });
    setSurfer(created);
    setRegions(plugin);
    let current = true;
    const points = Math.round(Math.min(Math.max(duration * POINTS_A_SECOND, POINTS.least), POINTS.most));
    getPeaks(path, points)
      .then(({ peaks }) => (current ? created.load(media.currentSrc || media.src, [peaks], duration) : undefined))
      .catch(() => undefined); // a flat line then; its segments are marked all the same
    return () => {
      current = false;
      created.destroy();
    };
  }, [path, media, duration]);

  useEffect(() => {
    surfer?.setOptions(colours());
  }, [surfer, dark.value]);

  useEffect(() => {
    if (!regions || !surfer || !segment) return undefined;
    let region: Region | undefined;
    const draw = (): void => {
      region?.remove();
      region = regions.addRegion({
        start: segment.start,
        end: segment.end,
        drag: false,
        minLength: SHORTEST,
        color: colours().region,
      });
    };
    draw();
    const off = [surfer.on("ready", draw), regions.on("region-updated", ({ start, end }) => moved({ start, end }))];
    return () => {
      off.forEach((each) => each());
      region?.remove();
    };
  }, [regions, surfer, segment?.start, segment?.end, moved]);

  return (
    <div class="waveform">
      <div ref={container} class="wave" aria-hidden="true" />
      <label class="zoom">
        <span>Zoom</span>
        <input
          type="range"
          min={0}
          max={ZOOM.most}
          step={ZOOM.step}
          value={zoom}
          onInput={(event) => {
            const pixels = Number(event.currentTarget.value);
            setZoom(pixels);
            surfer?.zoom(pixels);
          }}
        />
      </label>
    </div>
  );
}

function colours(): { waveColor: string; progressColor: string; cursorColor: string; region: string } {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string): string => style.getPropertyValue(name).trim();
  return {
    waveColor: value("--wave"),
    progressColor: value("--accent"),
    cursorColor: value("--text"),
    region: value("--region"),
  };
}
