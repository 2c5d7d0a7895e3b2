import { memo } from "./memo";
import { useEffect, useRef } from "preact/hooks";
import type { Segment, Word } from "../api/types";
import { follow, markUnsure } from "../state/preferences";
import { clock } from "../text";
import { indexAt, pieces } from "./document";
import type { Playback } from "./playback";
import { SegmentForm, type Actions } from "./SegmentForm";

const UNSURE = 0.5; // probability below which a word is marked

interface Props {
  segments: readonly Segment[];
  playback: Playback;
  editing: number | null;
  language: string | null;
  actions: Actions;
}

export const isUnsure = ({ probability }: Word): boolean => probability !== null && probability < UNSURE;

/** All segments. The word that is spoken is marked without drawing anything anew: there may be ten thousand. */
export function Transcript({ segments, playback, editing, language, actions }: Props) {
  const list = useRef<HTMLOListElement>(null);

  useEffect(() => {
    let row: Element | undefined;
    let word: Element | undefined;
    const stop = playback.time.subscribe((time) => {
      const index = indexAt(segments, time);
      const segment = segments[index];
      const inside = segment !== undefined && time < segment.end + 0.25;
      const newRow = segment ? list.current?.children[index] : undefined;
      if (newRow !== row || !row?.classList.contains("now")) {
        row?.classList.remove("now");
        newRow?.classList.add("now");
        if (newRow && newRow !== row && follow.value && playback.playing.value) keepInView(newRow);
        row = newRow;
      }
      const words = segment?.words ?? [];
      const heard = inside ? newRow?.querySelectorAll(".word")[indexAt(words, time)] : undefined;
      if (heard !== word) {
        word?.classList.remove("heard");
        heard?.classList.add("heard");
        word = heard;
      }
    });
    return () => {
      stop();
      row?.classList.remove("now");
      word?.classList.remove("heard");
    };
  }, [segments, playback, editing]);

  return (
    <ol ref={list} class={markUnsure.value ? "transcript mark-unsure" : "transcript"} lang={language ?? undefined}>
      {segments.map((segment, index) => (
        <li key={index} class={editing === index ? "segment editing" : "segment"}>
          {editing === index ? (
            <SegmentForm
              key={segment.text}
              index={index}
              segment={segment}
              last={index === segments.length - 1}
              playback={playback}
              actions={actions}
            />
          ) : (
            <Row index={index} segment={segment} playback={playback} edit={actions.edit} />
          )}
        </li>
      ))}
    </ol>
  );
}

function keepInView(row: Element): void {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  row.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}

interface RowProps {
  index: number;
  segment: Segment;
  playback: Playback;
  edit: (index: number) => void;
}

const Row = memo(function Row({ index, segment, playback, edit }: RowProps) {
  const { start, text, words } = segment;
  return (
    <>
      <button
        type="button"
        class="time number"
        aria-label={`Play from ${clock(start)}`}
        onClick={() => playback.playFrom(start)}
      >
        {clock(start)}
      </button>
      <p class="text" onDblClick={() => edit(index)}>
        {words?.length
          ? pieces(segment).flatMap(({ before, word }, place) => [
              before,
              <span
                key={place}
                class={isUnsure(word) ? "word unsure" : "word"}
                title={word.probability === null ? undefined : `${Math.round(word.probability * 100)} % sure`}
                onClick={() => playback.seek(word.start)}
              >
                {word.word.trim()}
              </span>,
            ])
          : text}
      </p>
      <button type="button" class="plain edit" aria-label={`Edit: ${text}`} title="Edit" onClick={() => edit(index)}>
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
          <path d="M5 19v-4L16 4l4 4L9 19zM14 6l4 4" />
        </svg>
      </button>
    </>
  );
});
