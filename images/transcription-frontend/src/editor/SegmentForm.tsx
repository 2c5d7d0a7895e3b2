import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Segment } from "../api/types";
import { clock, parseClock } from "../text";
import type { Playback } from "./playback";

const DIGITS = 2;

export interface Actions {
  edit: (index: number) => void;
  close: (index: number) => void;
  setText: (index: number, before: string, after: string) => void;
  setTimes: (index: number, times: { start?: number; end?: number }) => void;
  split: (index: number, text: string, position: number) => void;
  join: (index: number) => void;
  remove: (index: number) => void;
  next: (index: number) => void;
}

interface Props {
  index: number;
  segment: Segment;
  last: boolean;
  playback: Playback;
  actions: Actions;
}

/** One segment in work. Enter keeps its text, Escape drops the change. */
export function SegmentForm({ index, segment, last, playback, actions }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(segment.text);
  const latest = useRef(text);
  latest.current = text;
  const left = useRef(false);

  // Before the next key arrives: what follows the key that opened this is text already.
  useLayoutEffect(() => {
    area.current?.focus({ preventScroll: true });
    area.current?.closest("li")?.scrollIntoView({ block: "nearest" });
    return () => {
      // Going elsewhere keeps what was written; only Escape does not.
      if (!left.current) actions.setText(index, segment.text, latest.current);
    };
  }, []);

  useEffect(() => {
    if (!area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);

  const leave = (then: () => void): void => {
    left.current = true;
    then();
  };

  const keep = (then: () => void): void =>
    leave(() => {
      actions.setText(index, segment.text, text);
      then();
    });

  const keyDown = (event: KeyboardEvent): void => {
    if (event.key === "Escape") leave(() => actions.close(index));
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) splitHere();
    else if (event.key === "Enter") keep(() => actions.next(index));
    else if (event.key === " " && event.ctrlKey) playback.toggle();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const splitHere = (): void => {
    const position = area.current?.selectionStart ?? 0;
    leave(() => actions.split(index, text, position));
  };

  return (
    <div class="form">
      <div class="times">
        <TimeField
          label="Start"
          value={segment.start}
          set={(start) => actions.setTimes(index, { start })}
          playback={playback}
        />
        <TimeField
          label="End"
          value={segment.end}
          set={(end) => actions.setTimes(index, { end })}
          playback={playback}
        />
        <button type="button" onClick={() => playback.playFrom(segment.start)}>
          Play
        </button>
      </div>
      <textarea
        ref={area}
        rows={1}
        aria-label="Text of the segment"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={keyDown}
      />
      <div class="buttons">
        <button type="button" class="primary" onClick={() => keep(() => actions.close(index))}>
          Done
        </button>
        <button type="button" title="Ctrl+Enter" onMouseDown={(event) => event.preventDefault()} onClick={splitHere}>
          Split at cursor
        </button>
        <button type="button" disabled={last} onClick={() => keep(() => actions.join(index))}>
          Join with next
        </button>
        <button type="button" onClick={() => leave(() => actions.remove(index))}>
          Remove
        </button>
      </div>
    </div>
  );
}

function TimeField({
  label,
  value,
  set,
  playback,
}: {
  label: string;
  value: number;
  set: (seconds: number) => void;
  playback: Playback;
}) {
  const [text, setText] = useState(clock(value, DIGITS));
  const wrong = parseClock(text) === null;
  useEffect(() => setText(clock(value, DIGITS)), [value]);
  return (
    <span class="time-field">
      <label>
        {label}{" "}
        <input
          type="text"
          inputMode="decimal"
          value={text}
          aria-invalid={wrong}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
          onBlur={() => {
            const seconds = parseClock(text);
            if (seconds === null) setText(clock(value, DIGITS));
            else if (clock(seconds, DIGITS) !== clock(value, DIGITS)) set(seconds);
          }}
        />
      </label>
      <button type="button" title={`${label} where the medium is now`} onClick={() => set(playback.time.value)}>
        Now
      </button>
    </span>
  );
}
