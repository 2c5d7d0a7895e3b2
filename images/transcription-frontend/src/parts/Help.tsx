import { useEffect, useRef } from "preact/hooks";
import type { Command } from "../editor/keys";

interface Props {
  commands: readonly Command[];
  open: boolean;
  close: () => void;
}

const WRITING = [
  ["Enter", "Keep the text and go to the next segment"],
  ["Ctrl Enter", "Split at the cursor"],
  ["Ctrl Space", "Play or pause"],
  ["Esc", "Drop the change"],
] as const;

export function Help({ commands, open, close }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help" onClose={close}>
      <h2 id="help">Keyboard</h2>
      <dl>
        {commands.map(({ shown, help }) => (
          <Line key={shown} keys={shown} help={help} />
        ))}
      </dl>
      <h3>While you write</h3>
      <dl>
        {WRITING.map(([keys, help]) => (
          <Line key={keys} keys={keys} help={help} />
        ))}
      </dl>
      <form method="dialog">
        <button type="submit" class="primary">
          Close
        </button>
      </form>
    </dialog>
  );
}

function Line({ keys, help }: { keys: string; help: string }) {
  return (
    <div>
      <dt>
        {keys.split(" ").map((key) => (
          <kbd key={key}>{key}</kbd>
        ))}
      </dt>
      <dd>{help}</dd>
    </div>
  );
}
