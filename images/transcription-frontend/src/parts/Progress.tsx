import { percent } from "../text";

export function Progress({ share, label }: { share: number; label: string }) {
  return (
    <div class="progress">
      <progress value={share} max={1} aria-label={label} />
      <span class="number">{percent(share)}</span>
    </div>
  );
}
