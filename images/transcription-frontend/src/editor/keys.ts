/** The keyboard, and what the help says of it. Keys count where nobody is writing. */

export interface Command {
  keys: readonly string[]; // as `KeyboardEvent.key`, small; `ctrl+` before it where it must be held
  shown: string;
  help: string;
  run: () => void;
}

export function commandOf(event: KeyboardEvent, commands: readonly Command[]): Command | undefined {
  if (event.altKey) return undefined;
  const control = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const shift = event.shiftKey && control ? "shift+" : "";
  const key = `${control}${shift}${event.key.toLowerCase()}`;
  const command = commands.find(({ keys }) => keys.includes(key));
  return command && (control || !isTaken(event)) ? command : undefined;
}

/** Whether the element with the focus needs the key itself. */
function isTaken({ target, key }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest("textarea, select, dialog") ?? target.isContentEditable) return true;
  if (target instanceof HTMLInputElement) return !["checkbox", "button"].includes(target.type) || key === " ";
  return target.closest("button, a, summary") !== null && (key === " " || key === "Enter");
}
