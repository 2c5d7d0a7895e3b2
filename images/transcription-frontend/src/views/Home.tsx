import { JobList } from "./JobList";
import { NewJob } from "./NewJob";

export function Home() {
  return (
    <main class="home">
      <NewJob />
      <JobList />
    </main>
  );
}
