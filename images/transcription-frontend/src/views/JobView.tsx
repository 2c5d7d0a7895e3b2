import { useEffect, useState } from "preact/hooks";
import { archiveUrl, followJob, getJob, isOver } from "../api/client";
import type { Job, JobFile } from "../api/types";
import { fileLink, HOME } from "../state/route";
import { clock, languageName, reason } from "../text";
import { Icon } from "../parts/icons";
import { Progress } from "../parts/Progress";
import { StateBadge } from "../parts/StateBadge";
import { shortPath } from "./Folders";
import { JobButtons, jobTitle, summary } from "./JobList";

export function JobView({ id }: { id: string }) {
  const [job, setJob] = useState<Job | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [round, setRound] = useState(0);

  useEffect(() => {
    let current = true;
    let stop = (): void => undefined;
    const ask = async (): Promise<void> => {
      try {
        const found = await getJob(id);
        if (!current) return;
        setJob(found);
        if (!isOver(found))
          stop = followJob(
            id,
            (each) => current && setJob(each),
            () => undefined,
          );
      } catch (failure) {
        if (current) setError(reason(failure));
      }
    };
    void ask();
    return () => {
      current = false;
      stop();
    };
  }, [id, round]);

  return (
    <main class="middle">
      <nav aria-label="Back">
        <a href={HOME}>‹ All jobs</a>
      </nav>
      {error !== null && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {job && (
        <>
          <div class="line">
            <h1>{jobTitle(job)}</h1>
            <StateBadge state={job.state} />
          </div>
          <p class="muted">
            {summary(job)}
            {job.where === "ray" && " · on Ray"}
            {job.mlflow_run !== null && ` · MLflow run ${job.mlflow_run}`}
          </p>
          {!isOver(job) && <Progress share={job.progress} label="Progress of the job" />}
          {job.error !== null && <p class="error">{job.error}</p>}
          <div class="line">
            <JobButtons
              job={job}
              changed={() => setRound((before) => before + 1)}
              removed={() => (location.hash = HOME)}
            />
            {job.counts.done > 0 && (
              <a class="button" href={archiveUrl(job.id)} download>
                <Icon name="download" /> All results (.zip)
              </a>
            )}
          </div>
          <ul class="cards" aria-label="Files">
            {job.files?.map((file) => (
              <FileCard key={file.index} job={job} file={file} />
            ))}
          </ul>
        </>
      )}
    </main>
  );
}

function FileCard({ job, file }: { job: Job; file: JobFile }) {
  const name = shortPath(file.path);
  const facts = [
    file.duration === null ? "" : clock(file.duration, 0),
    file.language === null ? "" : languageName(file.language),
    file.reused ? "result of an earlier job" : "",
    file.processing === null || file.reused ? "" : `${file.processing.toFixed(1)} s of work`,
    file.revision ? "edited" : "",
    file.subtitles === null ? "" : `with ${shortPath(file.subtitles)}`,
  ].filter(Boolean);
  return (
    <li class="card job">
      <div class="line">
        {file.state === "done" ? (
          <a class="name" href={fileLink(job.id, file.index)}>
            {name}
          </a>
        ) : (
          <span class="name">{name}</span>
        )}
        <StateBadge state={file.state} />
      </div>
      {file.state === "running" && <Progress share={file.progress} label={`Progress of ${name}`} />}
      {file.error !== null && <p class="error">{file.error}</p>}
      {facts.length > 0 && <p class="muted small">{facts.join(" · ")}</p>}
    </li>
  );
}
