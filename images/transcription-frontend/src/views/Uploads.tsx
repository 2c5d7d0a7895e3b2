import { signal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import { ApiError, uploadFile } from "../api/client";
import { chosen } from "../state/selection";
import { notify } from "../state/notices";
import { reason } from "../text";
import { Icon } from "../parts/icons";
import { Progress } from "../parts/Progress";

interface Sending {
  id: number;
  name: string;
  share: number;
  abort: () => void;
}

const ACCEPTED = "audio/*,video/*,.mkv,.mts,.ts,.vtt,.srt";

const sending = signal<Sending[]>([]); // goes on while another view is shown
let next = 0;

const update = (id: number, share: number): void => {
  sending.value = sending.value.map((each) => (each.id === id ? { ...each, share } : each));
};

function send(file: File): void {
  const id = (next += 1);
  const { done, abort } = uploadFile(file, (share) => update(id, share));
  sending.value = [...sending.value, { id, name: file.name, share: 0, abort }];
  done
    .then((entry) => {
      chosen.value = [...chosen.value, entry];
    })
    .catch((error: unknown) => {
      if (!(error instanceof ApiError && error.code === "aborted")) notify("error", `${file.name}: ${reason(error)}`);
    })
    .finally(() => {
      sending.value = sending.value.filter((each) => each.id !== id);
    });
}

export const isSending = (): boolean => sending.value.length > 0;

export function Uploads() {
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const sendAll = (files: FileList | null | undefined): void => [...(files ?? [])].forEach(send);

  return (
    <div>
      <div
        class={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          sendAll(event.dataTransfer?.files);
        }}
      >
        <Icon name="upload" />
        <button type="button" onClick={() => input.current?.click()}>
          Choose files
        </button>
        <p class="muted">
          <span class="wide-only">or drop them here. </span>Video or sound, and subtitles (.vtt, .srt) to re-time.
        </p>
        <input
          ref={input}
          type="file"
          multiple
          accept={ACCEPTED}
          hidden
          aria-label="Files to upload"
          onChange={(event) => {
            sendAll(event.currentTarget.files);
            event.currentTarget.value = "";
          }}
        />
      </div>
      {sending.value.length > 0 && (
        <ul class="rows" aria-label="Uploads">
          {sending.value.map(({ id, name, share, abort }) => (
            <li key={id} class="row">
              <span class="name">{name}</span>
              <Progress share={share} label={`Upload of ${name}`} />
              <button type="button" class="plain" aria-label={`Stop the upload of ${name}`} onClick={abort}>
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
