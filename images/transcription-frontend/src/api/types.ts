/** What the transcription service answers (docs/transcription-api.md). */

export interface Session {
  authenticated: boolean;
  stack: string;
  where?: Where[];
}

export type Where = "container" | "ray";

export interface Model {
  id: string;
  owned_by: "bundled" | "mounted";
  default: boolean;
  languages: string;
  size_bytes: number;
  origin: string;
}

export interface Entry {
  name: string;
  path: string;
  kind: "folder" | "media" | "subtitles" | "other";
  size: number | null;
  modified: string | null;
  media_type: string | null;
}

export interface Listing {
  path: string;
  parent: string | null;
  truncated: boolean;
  entries: Entry[];
}

export interface Peaks {
  duration: number;
  points: number;
  peaks: number[];
}

export type State = "waiting" | "running" | "done" | "failed" | "cancelled";

export interface Shift {
  start: number;
  end: number;
}

export interface JobRequest {
  paths: string[];
  model?: string | null;
  language?: string | null;
  prompt?: string | null;
  subtitles?: Record<string, string>;
  subtitles_beside?: boolean;
  shift?: Shift | null;
  where?: Where | null;
}

export interface JobFile {
  index: number;
  path: string;
  state: State;
  reused: boolean;
  progress: number;
  duration: number | null;
  processing: number | null;
  language: string | null;
  revision: number;
  error: string | null;
  subtitles: string | null;
}

export interface Job {
  id: string;
  state: State;
  created: string;
  started: string | null;
  ended: string | null;
  request: JobRequest;
  where: Where;
  mlflow_run: string | null;
  counts: Record<State | "total", number>;
  progress: number;
  duration: number | null;
  processing: number | null;
  real_time_factor: number | null;
  error: string | null;
  files?: JobFile[];
}

export interface Word {
  start: number;
  end: number;
  word: string;
  probability: number | null;
}

export interface Segment {
  start: number;
  end: number;
  text: string;
  words?: Word[];
}

export interface Subtitle {
  start: number;
  end: number;
  text: string;
  given_start?: number;
  given_end?: number;
  matched?: number;
}

export interface Result {
  revision: number;
  source: { path: string; duration: number };
  model: { id: string; bundled: boolean };
  language: string | null;
  segments: Segment[];
  subtitles: Subtitle[] | null;
  shifted: Subtitle[] | null;
  processing?: { seconds: number; real_time_factor: number; where: Where };
}

export const FORMATS = ["vtt", "srt", "eaf", "txt", "json"] as const;
export type Format = (typeof FORMATS)[number];
