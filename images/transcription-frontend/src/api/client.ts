/** Calls of the transcription service. All paths are relative, so that the page works below any path. */

import type { Entry, Format, Job, JobRequest, Listing, Model, Peaks, Result, Segment, Session } from "./types";

const BASE = "v1";

/** The service refused a call, or did not answer it: `status` 0. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** What to do where the session is missing or has ended; the application sets it. */
export const onSignedOut: { call: () => void } = { call: () => undefined };

const UNREACHABLE = "The transcription service does not answer. It may be starting, or the network is down.";

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`${BASE}/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    });
  } catch {
    throw new ApiError(0, "unreachable", UNREACHABLE);
  }
  if (!response.ok) throw refusal(response.status, await response.text());
  return (response.status === 204 ? undefined : await response.json()) as T;
}

function refusal(status: number, text: string): ApiError {
  let code = `http_${status}`;
  let message = status >= 502 && status <= 504 ? UNREACHABLE : `The service answered ${status}.`;
  try {
    const { error } = JSON.parse(text) as { error?: { code?: string; message?: string } };
    code = error?.code ?? code;
    message = error?.message ?? message;
  } catch {
    // A proxy in between answered: its page is no help.
  }
  if (status === 401) onSignedOut.call();
  return new ApiError(status, code, message);
}

const query = (values: Record<string, string | number>): string =>
  new URLSearchParams(Object.entries(values).map(([key, value]) => [key, String(value)])).toString();
const jobPath = (id: string): string => `jobs/${encodeURIComponent(id)}`;

export const getSession = (): Promise<Session> => call("GET", "session");
export const signIn = (token: string): Promise<void> => call("POST", "session", { token });
export const signOut = (): Promise<void> => call("DELETE", "session");
export const listModels = async (): Promise<Model[]> => (await call<{ data: Model[] }>("GET", "models")).data;

export const listFiles = (path: string): Promise<Listing> => call("GET", path ? `files?${query({ path })}` : "files");
export const contentUrl = (path: string): string => `${BASE}/files/content?${query({ path })}`;
export const getPeaks = (path: string, points: number): Promise<Peaks> =>
  call("GET", `files/peaks?${query({ path, points })}`);
export const removeUpload = (path: string): Promise<void> => call("DELETE", `uploads?${query({ path })}`);

export const listJobs = async (): Promise<Job[]> => (await call<{ jobs: Job[] }>("GET", "jobs?limit=100")).jobs;
export const getJob = (id: string): Promise<Job> => call("GET", jobPath(id));
export const createJob = (request: JobRequest): Promise<Job> => call("POST", "jobs", request);
export const cancelJob = (id: string): Promise<Job> => call("POST", `${jobPath(id)}/cancel`);
export const retryJob = (id: string): Promise<Job> => call("POST", `${jobPath(id)}/retry`);
export const removeJob = (id: string): Promise<void> => call("DELETE", jobPath(id));
export const archiveUrl = (id: string): string => `${BASE}/${jobPath(id)}/result.zip`;

export const getResult = (job: string, file: number): Promise<Result> =>
  call("GET", `${jobPath(job)}/files/${file}/result.json`);
export const resultUrl = (job: string, file: number, format: Format, track: string): string =>
  `${BASE}/${jobPath(job)}/files/${file}/result.${format}?${query({ track, download: "true" })}`;
export const saveSegments = (job: string, file: number, revision: number, segments: Segment[]): Promise<Result> =>
  call("PUT", `${jobPath(job)}/files/${file}/segments`, {
    revision,
    segments: segments.map(({ start, end, text }) => ({ start, end, text })),
  });
export const discardEdits = (job: string, file: number): Promise<Result> =>
  call("DELETE", `${jobPath(job)}/files/${file}/segments`);

/** Follows a job until it ends. Returns what stops following. */
export function followJob(id: string, changed: (job: Job) => void, ended: () => void): () => void {
  const source = new EventSource(`${BASE}/${jobPath(id)}/events`);
  source.addEventListener("job", (event: MessageEvent<string>) => {
    const job = JSON.parse(event.data) as Job;
    changed(job);
    if (isOver(job)) {
      source.close();
      ended();
    }
  });
  source.addEventListener("error", () => {
    // The browser connects again by itself, unless the answer was none at all.
    if (source.readyState === EventSource.CLOSED) ended();
  });
  return () => source.close();
}

export const isOver = (job: Job): boolean => job.state !== "waiting" && job.state !== "running";

export interface Upload {
  done: Promise<Entry>;
  abort: () => void;
}

/** Sends a file; `fetch` cannot tell how much of it is sent. */
export function uploadFile(file: File, progress: (share: number) => void): Upload {
  const request = new XMLHttpRequest();
  const done = new Promise<Entry>((resolve, reject) => {
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText) as Entry);
      else reject(refusal(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(new ApiError(0, "unreachable", UNREACHABLE)));
    request.addEventListener("abort", () => reject(new ApiError(0, "aborted", "The upload was stopped.")));
    const form = new FormData();
    form.append("file", file);
    request.open("POST", `${BASE}/uploads`);
    request.send(form);
  });
  return { done, abort: () => request.abort() };
}
