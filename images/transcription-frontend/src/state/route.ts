/** What the page shows, kept in the address after `#`, so that links and the Back button work. */

import { signal } from "@preact/signals";

export type Route = { view: "home" } | { view: "job"; job: string } | { view: "file"; job: string; file: number };

export function parseRoute(hash: string): Route {
  const [area, job, file, more] = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (area !== "jobs" || !job || more !== undefined) return { view: "home" };
  if (file === undefined) return { view: "job", job };
  return /^\d+$/.test(file) ? { view: "file", job, file: Number(file) } : { view: "job", job };
}

export const jobLink = (job: string): string => `#/jobs/${encodeURIComponent(job)}`;
export const fileLink = (job: string, file: number): string => `${jobLink(job)}/${file}`;
export const HOME = "#/";

export const route = signal<Route>(parseRoute(location.hash));
window.addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
});
