/** Drawn here, so that the page needs no font and no other file. */

const PATHS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  back: "M11 7 6 12l5 5M18 7l-5 5 5 5",
  ahead: "m13 7 5 5-5 5M6 7l5 5-5 5",
  undo: "M9 7 4 12l5 5M4 12h10a5 5 0 0 1 0 10h-2",
  redo: "m15 7 5 5-5 5M20 12H10a5 5 0 0 0 0 10h2",
  folder: "M3 6h6l2 2h10v11H3z",
  media: "M4 5h16v14H4zM10 9v6l5-3z",
  subtitles: "M4 5h16v14H4zM7 14h4M13 14h4M7 10h7",
  other: "M7 3h7l5 5v13H7zM14 3v5h5",
  upload: "M12 16V5M7 9l5-5 5 5M5 19h14",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  close: "M6 6l12 12M18 6 6 18",
  edit: "M5 19v-4L16 4l4 4L9 19zM14 6l4 4",
  help: "M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 18v.5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5 19 19M19 5l-1.5 1.5M6.5 17.5 5 19",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z",
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  retry: "M20 11a8 8 0 1 0-2 6M20 5v6h-6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  exit: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  check: "m5 13 4 4L19 7",
} as const;

export type IconName = keyof typeof PATHS;
const FILLED: ReadonlySet<IconName> = new Set(["play", "pause"]);

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={FILLED.has(name) ? "icon filled" : "icon"} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
