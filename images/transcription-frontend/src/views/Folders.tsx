import { useEffect, useState } from "preact/hooks";
import { listFiles } from "../api/client";
import type { Entry, Listing } from "../api/types";
import { chosen, toggle } from "../state/selection";
import { bytes, fileName, reason } from "../text";
import { Icon } from "../parts/icons";

const FIRST = "dataset";

export function Folders() {
  const [path, setPath] = useState(FIRST);
  const [listing, setListing] = useState<Listing | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [filter, setFilter] = useState("");

  useEffect(() => {
    let current = true;
    setError(null);
    listFiles(path)
      .then((found) => current && setListing(found))
      .catch((failure: unknown) => current && setError(reason(failure)));
    return () => {
      current = false;
    };
  }, [path]);

  const open = (folder: string): void => {
    setFilter("");
    setListing(null);
    setPath(folder);
  };
  const wanted = filter.trim().toLowerCase();
  const entries = (listing?.entries ?? []).filter(
    ({ name, kind }) => kind !== "other" && name.toLowerCase().includes(wanted),
  );

  return (
    <div class="folders">
      <Crumbs path={path} open={open} />
      {error !== null && (
        <p class="error" role="alert">
          {error}{" "}
          {path === FIRST && (
            <>
              A stack has a dataset folder if its file names one: <code>transcription.dataset</code>.
            </>
          )}
        </p>
      )}
      {listing && listing.entries.length > 8 && (
        <input
          type="search"
          placeholder="Filter by name"
          aria-label="Filter by name"
          value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
      )}
      {listing && (
        <ul class="rows entries" aria-label={`Content of ${path || "all folders"}`}>
          {entries.map((entry) => (
            <Row key={entry.path} entry={entry} open={open} />
          ))}
          {entries.length === 0 && (
            <li class="row muted">{wanted ? "No such name here." : "Nothing to transcribe here."}</li>
          )}
        </ul>
      )}
      {listing?.truncated && (
        <p class="muted">Only the first 5,000 entries are shown. Choose the whole folder for all.</p>
      )}
    </div>
  );
}

function Crumbs({ path, open }: { path: string; open: (folder: string) => void }) {
  const parts = path ? path.split("/") : [];
  return (
    <nav class="crumbs" aria-label="Folder">
      <button type="button" class="plain" onClick={() => open("")} aria-label="All folders">
        <Icon name="folder" />
      </button>
      {parts.map((part, index) => {
        const target = parts.slice(0, index + 1).join("/");
        const last = index === parts.length - 1;
        return (
          <span key={target}>
            <span aria-hidden="true">/</span>
            <button type="button" class="plain" aria-current={last ? "page" : undefined} onClick={() => open(target)}>
              {part}
            </button>
          </span>
        );
      })}
    </nav>
  );
}

function Row({ entry, open }: { entry: Entry; open: (folder: string) => void }) {
  const { name, path, kind, size } = entry;
  const selected = chosen.value.some((each) => each.path === path);
  const id = `entry-${path}`;
  return (
    <li class="row">
      <input
        type="checkbox"
        id={id}
        checked={selected}
        aria-label={kind === "folder" ? `All media in ${name}` : name}
        onChange={() => toggle(entry)}
      />
      <Icon name={kind} />
      {kind === "folder" ? (
        <button type="button" class="name link" onClick={() => open(path)}>
          {name}
        </button>
      ) : (
        <label class="name" for={id}>
          {name}
        </label>
      )}
      {size !== null && kind !== "folder" && <span class="number muted">{bytes(size)}</span>}
    </li>
  );
}

export const shortPath = (path: string): string => (path.startsWith("uploads/") ? fileName(path) : path);
