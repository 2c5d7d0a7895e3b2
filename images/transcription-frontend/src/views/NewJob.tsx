import { useEffect, useState } from "preact/hooks";
import { createJob, listModels } from "../api/client";
import type { Entry, Model } from "../api/types";
import { access } from "../state/session";
import { assign, clear, drop, media, request, subtitles, subtitlesOf, type Options } from "../state/selection";
import { notify } from "../state/notices";
import { jobLink } from "../state/route";
import { bytes, count, fileName, languageName, reason } from "../text";
import { Icon } from "../parts/icons";
import { Folders, shortPath } from "./Folders";
import { isSending, Uploads } from "./Uploads";

/** The lag of interpreters that the aligner SEA assumes for broadcasts of the corpus BOBSL, in seconds. */
const BOBSL = { start: 2.6, end: 2.1 };
const LANGUAGES = [
  "de",
  "en",
  "nl",
  "fr",
  "it",
  "es",
  "pt",
  "pl",
  "cs",
  "da",
  "sv",
  "fi",
  "tr",
  "el",
  "ja",
  "ko",
  "zh",
];
const TABS = { upload: "Upload", folder: "Dataset folder" } as const;

const START: Options = {
  model: "",
  language: "",
  prompt: "",
  subtitlesBeside: false,
  shift: { start: 0, end: 0 },
  where: null,
};

export function NewJob() {
  const [tab, setTab] = useState<keyof typeof TABS>("upload");
  const [options, setOptions] = useState(START);
  const [busy, setBusy] = useState(false);
  const ready = media.value.length > 0 && !isSending() && !busy;

  const start = async (): Promise<void> => {
    setBusy(true);
    try {
      const job = await createJob(request(options));
      clear();
      location.hash = jobLink(job.id);
    } catch (error) {
      notify("error", reason(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <section class="card new-job" aria-labelledby="new-job">
      <h1 id="new-job">New transcription</h1>
      <div class="tabs" role="tablist" aria-label="Where the files are">
        {(Object.keys(TABS) as (keyof typeof TABS)[]).map((name) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`tab-${name}`}
            aria-controls="source"
            aria-selected={tab === name}
            tabIndex={tab === name ? 0 : -1}
            onClick={() => setTab(name)}
            onKeyDown={(event) => {
              if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
              const other = name === "upload" ? "folder" : "upload";
              setTab(other);
              document.getElementById(`tab-${other}`)?.focus();
            }}
          >
            {TABS[name]}
          </button>
        ))}
      </div>
      <div id="source" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "upload" ? <Uploads /> : <Folders />}
      </div>
      <Chosen />
      <OptionFields options={options} change={(some) => setOptions({ ...options, ...some })} />
      <div class="actions">
        <button type="button" class="primary" disabled={!ready} onClick={() => void start()}>
          Transcribe{media.value.length > 1 ? ` ${count(media.value.length, "item")}` : ""}
        </button>
        {isSending() && <span class="muted">Waits for the uploads.</span>}
      </div>
    </section>
  );
}

function Chosen() {
  const all = [...media.value, ...subtitles.value];
  if (all.length === 0) return null;
  return (
    <ul class="rows chosen" aria-label="Chosen">
      {all.map((entry) => (
        <li key={entry.path} class="row">
          <Icon name={entry.kind} />
          <span class="name" title={entry.path}>
            {shortPath(entry.path)}
            {entry.kind === "folder" && <span class="muted"> and all below</span>}
          </span>
          {entry.kind === "media" && subtitles.value.length > 0 && <SubtitlesOf medium={entry} />}
          <button type="button" class="plain" aria-label={`Do not use ${entry.name}`} onClick={() => drop(entry.path)}>
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}

function SubtitlesOf({ medium }: { medium: Entry }) {
  return (
    <select
      aria-label={`Subtitles of ${medium.name}`}
      value={subtitlesOf(medium)}
      onChange={(event) => assign(medium.path, event.currentTarget.value)}
    >
      <option value="">No subtitles</option>
      {subtitles.value.map(({ path }) => (
        <option key={path} value={path}>
          {fileName(path)}
        </option>
      ))}
    </select>
  );
}

function OptionFields({ options, change }: { options: Options; change: (some: Partial<Options>) => void }) {
  const [models, setModels] = useState<Model[]>([]);
  useEffect(() => {
    listModels()
      .then(setModels)
      .catch((error: unknown) => notify("error", reason(error)));
  }, []);
  const where = access.value.state === "in" ? (access.value.session.where ?? []) : [];
  const model = models.find(({ id, default: usual }) => (options.model ? id === options.model : usual));
  const shift = (side: "start" | "end", text: string): void =>
    change({ shift: { ...options.shift, [side]: Number(text) || 0 } });

  return (
    <>
      <div class="fields">
        <div>
          <label for="language">Language</label>
          <select
            id="language"
            value={options.language}
            onChange={(event) => change({ language: event.currentTarget.value })}
          >
            <option value="">Detect</option>
            {LANGUAGES.map((code) => (
              <option key={code} value={code}>
                {languageName(code)}
              </option>
            ))}
          </select>
        </div>
        <div>
          <label for="model">Model</label>
          <select
            id="model"
            value={model?.id ?? ""}
            aria-describedby="model-origin"
            onChange={(event) => change({ model: event.currentTarget.value })}
          >
            {models.map(({ id, owned_by }) => (
              <option key={id} value={id}>
                {id}
                {owned_by === "bundled" ? " (bundled)" : ""}
              </option>
            ))}
          </select>
        </div>
      </div>
      <details class="more">
        <summary>More options</summary>
        <div class="stacked">
          <div>
            <label for="prompt">Names and spelling</label>
            <input
              id="prompt"
              type="text"
              placeholder="Tagesschau, Kap Arkona, Islandtief"
              value={options.prompt}
              onInput={(event) => change({ prompt: event.currentTarget.value })}
            />
          </div>
          <label class="check">
            <input
              type="checkbox"
              checked={options.subtitlesBeside}
              onChange={(event) => change({ subtitlesBeside: event.currentTarget.checked })}
            />
            Re-time the subtitles that lie beside each file
          </label>
          <fieldset>
            <legend>Shift for an interpreter’s lag</legend>
            <div class="fields">
              <div>
                <label for="shift-start">Start, seconds later</label>
                <input
                  id="shift-start"
                  type="number"
                  step="0.1"
                  value={options.shift.start}
                  onInput={(event) => shift("start", event.currentTarget.value)}
                />
              </div>
              <div>
                <label for="shift-end">End, seconds later</label>
                <input
                  id="shift-end"
                  type="number"
                  step="0.1"
                  value={options.shift.end}
                  onInput={(event) => shift("end", event.currentTarget.value)}
                />
              </div>
              <button type="button" onClick={() => change({ shift: BOBSL })}>
                As SEA for BOBSL
              </button>
            </div>
          </fieldset>
          {where.includes("ray") && (
            <label class="check">
              <input
                type="checkbox"
                checked={(options.where ?? where[0]) === "ray"}
                onChange={(event) => change({ where: event.currentTarget.checked ? "ray" : "container" })}
              />
              Run on the Ray cluster
            </label>
          )}
          {model && (
            <p id="model-origin" class="muted small">
              {model.id}: {bytes(model.size_bytes)}, {model.languages}. {model.origin}
            </p>
          )}
        </div>
      </details>
    </>
  );
}
