import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { getResult, resultUrl } from "../api/client";
import { FORMATS, type Format, type Segment } from "../api/types";
import * as edit from "../editor/document";
import { Editing } from "../editor/editing";
import { commandOf, type Command } from "../editor/keys";
import { Playback } from "../editor/playback";
import { Player } from "../editor/Player";
import type { Actions } from "../editor/SegmentForm";
import { isUnsure, Transcript } from "../editor/Transcript";
import { follow, markUnsure } from "../state/preferences";
import { notify } from "../state/notices";
import { jobLink } from "../state/route";
import { clock, languageName, reason } from "../text";
import { Help } from "../parts/Help";
import { Icon } from "../parts/icons";
import { shortPath } from "./Folders";

const TRACKS = { speech: "Speech", subtitles: "Subtitles, re-timed", shifted: "Subtitles, shifted" } as const;
type Track = keyof typeof TRACKS;

export function Editor({ job, file }: { job: string; file: number }) {
  const [editing, setEditing] = useState<Editing | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    getResult(job, file)
      .then((result) => current && setEditing(new Editing(job, file, result)))
      .catch((failure: unknown) => current && setError(reason(failure)));
    return () => {
      current = false;
    };
  }, [job, file]);
  return (
    <main class="editor">
      <nav aria-label="Back">
        <a href={jobLink(job)}>‹ Job</a>
      </nav>
      {error !== null && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {editing && <Desk job={job} file={file} editing={editing} />}
    </main>
  );
}

function Desk({ job, file, editing }: { job: string; file: number; editing: Editing }) {
  const { path, duration } = editing.result.value.source;
  const playback = useMemo(() => new Playback(duration), [duration]);
  const [row, setRow] = useState<number | null>(null); // the segment in work
  const [track, setTrack] = useState<Track>("speech");
  const [help, setHelp] = useState(false);
  const segments = editing.segments.value;
  const result = editing.result.value;
  const lines = track === "speech" ? segments : (result[track] ?? []);
  const actions = useActions(editing, duration, setRow);
  const commands = useCommands(editing, playback, row, setRow, setHelp);

  // With the first picture: whoever sees the text may press a key.
  useLayoutEffect(() => {
    const press = (event: KeyboardEvent): void => {
      const command = commandOf(event, commands);
      if (!command) return;
      event.preventDefault();
      command.run();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [commands]);

  useEffect(() => {
    const warn = (event: BeforeUnloadEvent): void => {
      if (editing.saving.value.state !== "saved") event.preventDefault();
    };
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [editing]);

  const moved = useCallback(
    (times: { start: number; end: number }) => {
      if (row !== null) actions.setTimes(row, times);
    },
    [row, actions],
  );

  return (
    <>
      <div class="line">
        <h1>{shortPath(path)}</h1>
        <SavingState editing={editing} />
      </div>
      <div class="desk">
        <div class="left">
          <Player
            path={path}
            playback={playback}
            lines={lines}
            segment={row === null ? undefined : segments[row]}
            moved={moved}
          />
          <Exports job={job} file={file} track={track} editing={editing} />
          <p class="muted small facts">
            {[
              result.language === null ? "" : languageName(result.language),
              `${result.model.id}${result.model.bundled ? " (bundled)" : ""}`,
              result.processing ? `took ${result.processing.real_time_factor.toFixed(2)} × its length` : "",
            ]
              .filter(Boolean)
              .join(" · ")}
          </p>
        </div>
        <section class="right" aria-label="Transcript">
          <div class="toolbar">
            <Tracks result={result} track={track} choose={setTrack} />
            <button
              type="button"
              class="plain"
              title="Undo"
              aria-label="Undo"
              disabled={!editing.canUndo.value}
              onClick={() => editing.undo()}
            >
              <Icon name="undo" />
            </button>
            <button
              type="button"
              class="plain"
              title="Redo"
              aria-label="Redo"
              disabled={!editing.canRedo.value}
              onClick={() => editing.redo()}
            >
              <Icon name="redo" />
            </button>
            <span class="spring" />
            <label class="check small">
              <input
                type="checkbox"
                checked={follow.value}
                onChange={(event) => (follow.value = event.currentTarget.checked)}
              />
              Follow
            </label>
            <label class="check small">
              <input
                type="checkbox"
                checked={markUnsure.value}
                onChange={(event) => (markUnsure.value = event.currentTarget.checked)}
              />
              Unsure words
            </label>
            <button type="button" class="plain" title="Keyboard" aria-label="Keyboard" onClick={() => setHelp(true)}>
              <Icon name="help" />
            </button>
          </div>
          {track === "speech" ? (
            <Transcript
              segments={segments}
              playback={playback}
              editing={row}
              language={result.language}
              actions={actions}
            />
          ) : (
            <Timed lines={lines} playback={playback} language={result.language} />
          )}
          {lines.length === 0 && <p class="muted">No speech was found.</p>}
          {result.revision > 0 && track === "speech" && (
            <button type="button" onClick={() => void startOver(editing)}>
              Start over from what the model heard
            </button>
          )}
        </section>
      </div>
      <Help commands={commands} open={help} close={() => setHelp(false)} />
    </>
  );
}

function startOver(editing: Editing): Promise<void> {
  return editing.startOver().catch((error: unknown) => notify("error", reason(error)));
}

function useActions(editing: Editing, duration: number, setRow: (row: number | null) => void): Actions {
  return useMemo(() => {
    const apply = (change: (segments: readonly Segment[]) => Segment[]): void => {
      editing.apply(change(editing.segments.value));
    };
    return {
      edit: setRow,
      close: () => setRow(null),
      setText: (index, before, after) => {
        // The segment may be another one by now, where another person's edits were taken.
        if (editing.segments.value[index]?.text === before) apply((segments) => edit.setText(segments, index, after));
      },
      setTimes: (index, times) => apply((segments) => edit.setTimes(segments, index, times, duration)),
      split: (index, text, position) => {
        apply((segments) => edit.split(segments, index, text, position));
        setRow(index);
      },
      join: (index) => {
        apply((segments) => edit.join(segments, index));
        setRow(index);
      },
      remove: (index) => {
        apply((segments) => edit.remove(segments, index));
        setRow(null);
      },
      next: (index) => setRow(editing.segments.value[index + 1] ? index + 1 : null),
    };
  }, [editing, duration, setRow]);
}

function useCommands(
  editing: Editing,
  playback: Playback,
  row: number | null,
  setRow: (row: number | null) => void,
  setHelp: (open: boolean) => void,
): readonly Command[] {
  const here = useRef(row);
  here.current = row;
  return useMemo(() => {
    const now = (): number => Math.max(0, edit.indexAt(editing.segments.value, playback.time.value));
    const go = (index: number): void => {
      const segment = editing.segments.value[index];
      if (segment) playback.seek(segment.start);
      document.querySelectorAll(".transcript > li")[index]?.scrollIntoView({ block: "center" });
    };
    const nextUnsure = (): void => {
      const time = playback.time.value;
      const word = editing.segments.value
        .flatMap(({ words }) => words ?? [])
        .find((each) => isUnsure(each) && each.start > time + 0.01);
      if (!word) {
        notify("info", "No unsure word after this.");
        return;
      }
      playback.seek(word.start);
      go(edit.indexAt(editing.segments.value, word.start));
      playback.seek(word.start);
    };
    return [
      { keys: [" ", "k"], shown: "Space", help: "Play or pause", run: () => playback.toggle() },
      { keys: ["arrowleft", "j"], shown: "←", help: "Back 2 seconds", run: () => playback.skip(-2) },
      { keys: ["arrowright", "l"], shown: "→", help: "Ahead 2 seconds", run: () => playback.skip(2) },
      { keys: ["arrowup"], shown: "↑", help: "Previous segment", run: () => go(now() - 1) },
      { keys: ["arrowdown"], shown: "↓", help: "Next segment", run: () => go(now() + 1) },
      {
        keys: ["r"],
        shown: "R",
        help: "Play this segment again",
        run: () => {
          go(now());
          playback.play();
        },
      },
      { keys: ["n"], shown: "N", help: "Next word that the model was unsure of", run: nextUnsure },
      { keys: ["e", "enter"], shown: "E", help: "Edit this segment", run: () => setRow(now()) },
      { keys: [","], shown: ",", help: "Slower", run: () => playback.faster(-1) },
      { keys: ["."], shown: ".", help: "Faster", run: () => playback.faster(1) },
      { keys: ["f"], shown: "F", help: "Follow the speech, or not", run: () => (follow.value = !follow.value) },
      {
        keys: ["ctrl+z"],
        shown: "Ctrl Z",
        help: "Undo",
        run: () => {
          if (here.current === null) editing.undo();
        },
      },
      {
        keys: ["ctrl+shift+z", "ctrl+y"],
        shown: "Ctrl Y",
        help: "Redo",
        run: () => {
          if (here.current === null) editing.redo();
        },
      },
      { keys: ["?"], shown: "?", help: "This help", run: () => setHelp(true) },
    ];
  }, [editing, playback, setRow, setHelp]);
}

function Tracks({
  result,
  track,
  choose,
}: {
  result: { subtitles: unknown; shifted: unknown };
  track: Track;
  choose: (track: Track) => void;
}) {
  const there = (Object.keys(TRACKS) as Track[]).filter((name) => name === "speech" || result[name] !== null);
  if (there.length < 2) return null;
  return (
    <select aria-label="What is shown" value={track} onChange={(event) => choose(event.currentTarget.value as Track)}>
      {there.map((name) => (
        <option key={name} value={name}>
          {TRACKS[name]}
        </option>
      ))}
    </select>
  );
}

function Timed({
  lines,
  playback,
  language,
}: {
  lines: readonly { start: number; end: number; text: string; matched?: number }[];
  playback: Playback;
  language: string | null;
}) {
  const now = edit.indexAt(lines, playback.time.value);
  return (
    <ol class="transcript" lang={language ?? undefined}>
      {lines.map(({ start, end, text, matched }, index) => (
        <li key={index} class={index === now && playback.time.value < end ? "segment now" : "segment"}>
          <button
            type="button"
            class="time number"
            aria-label={`Play from ${clock(start)}`}
            onClick={() => playback.playFrom(start)}
          >
            {clock(start)}
          </button>
          <p class="text">{text}</p>
          {matched !== undefined && <span class="muted small number">{Math.round(matched * 100)} % heard</span>}
        </li>
      ))}
    </ol>
  );
}

function SavingState({ editing }: { editing: Editing }) {
  const { value } = editing.saving;
  const attempt = (work: Promise<void>): void => {
    work.catch((error: unknown) => notify("error", reason(error)));
  };
  return (
    <div class="saving" role="status" aria-live="polite">
      {value.state === "saving" && <span class="muted">Saving…</span>}
      {value.state === "saved" && editing.result.value.revision > 0 && (
        <span class="muted">
          <Icon name="check" /> Saved
        </span>
      )}
      {value.state === "failed" && (
        <>
          <span class="error">Not saved: {value.message}</span>
          <button type="button" onClick={() => editing.save()}>
            Try again
          </button>
        </>
      )}
      {value.state === "conflict" && (
        <>
          <span class="error">Another person has changed this transcript.</span>
          <button type="button" onClick={() => attempt(editing.takeTheirs())}>
            Take theirs
          </button>
          <button type="button" onClick={() => attempt(editing.keepMine())}>
            Keep mine
          </button>
        </>
      )}
    </div>
  );
}

const MEANING: Record<Format, string> = {
  vtt: "WebVTT subtitles",
  srt: "SubRip subtitles",
  eaf: "ELAN, with all tiers",
  txt: "Plain text",
  json: "Everything, with word times",
};

function Exports({ job, file, track, editing }: { job: string; file: number; track: Track; editing: Editing }) {
  const download = async (event: Event, format: Format): Promise<void> => {
    if (editing.saving.value.state === "saved") return; // the link does it
    event.preventDefault();
    if (await editing.settled()) location.assign(resultUrl(job, file, format, track));
    else notify("error", "The last edits are not saved yet, and the download would lack them.");
  };
  return (
    <div class="exports" role="group" aria-label="Download">
      <Icon name="download" />
      {FORMATS.map((format) => (
        <a
          key={format}
          class="button"
          href={resultUrl(job, file, format, track)}
          title={MEANING[format]}
          download
          onClick={(event) => void download(event, format)}
        >
          {format.toUpperCase()}
        </a>
      ))}
    </div>
  );
}
