import { useEffect, useState } from "preact/hooks";
import { cancelJob, isOver, listJobs, removeJob, retryJob } from "../api/client";
import type { Job } from "../api/types";
import { fileLink, jobLink } from "../state/route";
import { notify } from "../state/notices";
import { clock, count, moment, reason } from "../text";
import { Icon } from "../parts/icons";
import { Progress } from "../parts/Progress";
import { StateBadge } from "../parts/StateBadge";
import { shortPath } from "./Folders";

const BUSY_SECONDS = 1.5;
const IDLE_SECONDS = 10;

export function JobList() {
  const [jobs, setJobs] = useState<Job[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [round, setRound] = useState(0);

  useEffect(() => {
    let timer = 0;
    let current = true;
    const ask = async (): Promise<void> => {
      let wait = IDLE_SECONDS;
      try {
        const found = await listJobs();
        if (!current) return;
        setJobs(found);
        setError(null);
        if (!found.every(isOver)) wait = BUSY_SECONDS;
      } catch (failure) {
        if (!current) return;
        setError(reason(failure));
      }
      timer = window.setTimeout(() => void ask(), wait * 1000);
    };
    void ask();
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [round]);

  return (
    <section class="jobs" aria-labelledby="jobs">
      <h2 id="jobs">Jobs</h2>
      {error !== null && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {jobs?.length === 0 && <p class="muted">None yet. Results of jobs are kept here until you remove them.</p>}
      <ul class="cards">
        {jobs?.map((job) => (
          <JobCard key={job.id} job={job} changed={() => setRound((before) => before + 1)} />
        ))}
      </ul>
    </section>
  );
}

export function jobTitle(job: Job): string {
  const [first, ...others] = job.request.paths;
  return `${shortPath(first ?? job.id)}${others.length ? ` and ${others.length} more` : ""}`;
}

function JobCard({ job, changed }: { job: Job; changed: () => void }) {
  const single = job.counts.total === 1 && job.counts.done === 1;
  return (
    <li class="card job">
      <div class="line">
        <a class="name" href={single ? fileLink(job.id, 0) : jobLink(job.id)}>
          {jobTitle(job)}
        </a>
        <StateBadge state={job.state} />
      </div>
      {!isOver(job) && <Progress share={job.progress} label={`Progress of ${jobTitle(job)}`} />}
      {job.error !== null && <p class="error">{job.error}</p>}
      <div class="line">
        <p class="muted small">{summary(job)}</p>
        <JobButtons job={job} changed={changed} />
      </div>
    </li>
  );
}

export function summary(job: Job): string {
  return [
    moment(job.created),
    count(job.counts.total, "file"),
    job.counts.failed ? `${job.counts.failed} failed` : "",
    job.duration ? clock(job.duration, 0) : "",
    job.real_time_factor ? `took ${job.real_time_factor.toFixed(2)} × its length` : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

export function JobButtons({ job, changed, removed }: { job: Job; changed: () => void; removed?: () => void }) {
  const title = jobTitle(job);
  const run = (work: Promise<unknown>, after: () => void): void => {
    work.then(after).catch((error: unknown) => notify("error", reason(error)));
  };
  const again = job.counts.failed + job.counts.cancelled > 0;
  return (
    <div class="buttons">
      {!isOver(job) && (
        <button type="button" onClick={() => run(cancelJob(job.id), changed)} aria-label={`Cancel ${title}`}>
          Cancel
        </button>
      )}
      {isOver(job) && again && (
        <button type="button" onClick={() => run(retryJob(job.id), changed)} aria-label={`Try ${title} again`}>
          <Icon name="retry" /> Try again
        </button>
      )}
      {isOver(job) && (
        <button
          type="button"
          class="plain"
          title="Remove the job and its results"
          aria-label={`Remove ${title} and its results`}
          onClick={() => {
            if (confirm(`Remove the job “${title}” and its results? The media stay.`)) {
              run(removeJob(job.id), removed ?? changed);
            }
          }}
        >
          <Icon name="trash" />
        </button>
      )}
    </div>
  );
}
