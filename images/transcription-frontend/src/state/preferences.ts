/** What this browser remembers: choices of how to work, never text of transcripts. */

import { computed, effect, signal, type Signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

function remembered<T extends string | number | boolean>(name: string, initial: NoInfer<T>): Signal<T> {
  const key = `transcription.${name}`;
  const found = signal<T>(initial);
  try {
    const text = localStorage.getItem(key);
    const value: unknown = text === null ? initial : JSON.parse(text);
    if (typeof value === typeof initial) found.value = value as T;
  } catch {
    // Storage that is closed or holds something else: the initial value stays.
  }
  effect(() => {
    try {
      localStorage.setItem(key, JSON.stringify(found.value));
    } catch {
      // Not remembered then.
    }
  });
  return found;
}

export const theme = remembered<Theme>("theme", "auto");
export const rate = remembered<number>("rate", 1);
export const follow = remembered<boolean>("follow", true);
export const markUnsure = remembered<boolean>("markUnsure", true);
export const captions = remembered<boolean>("captions", true);

const system = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(system.matches);
system.addEventListener("change", () => {
  systemIsDark.value = system.matches;
});

/** Whether the page is dark: as chosen, or as the system is. */
export const dark = computed(() => (theme.value === "auto" ? systemIsDark.value : theme.value === "dark"));

effect(() => {
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
});
