import type { State } from "../api/types";
import { STATES } from "../text";

export function StateBadge({ state }: { state: State }) {
  return <span class={`badge ${state}`}>{STATES[state]}</span>;
}
