import { useEffect } from "preact/hooks";
import { Header } from "./parts/Header";
import { Notices } from "./parts/Notices";
import { access, look } from "./state/session";
import { route } from "./state/route";
import { Editor } from "./views/Editor";
import { Home } from "./views/Home";
import { JobView } from "./views/JobView";
import { SignIn } from "./views/SignIn";

const RETRY_SECONDS = 3;

export function App() {
  return (
    <>
      <Header />
      <Main />
      <Notices />
    </>
  );
}

function Main() {
  const now = access.value;
  switch (now.state) {
    case "asking":
      return <main class="narrow" aria-busy="true" />;
    case "out":
      return <SignIn />;
    case "unreachable":
      return <Unreachable message={now.message} />;
    case "in":
      return <View />;
  }
}

function View() {
  const now = route.value;
  switch (now.view) {
    case "home":
      return <Home />;
    case "job":
      return <JobView key={now.job} id={now.job} />;
    case "file":
      return <Editor key={`${now.job}/${now.file}`} job={now.job} file={now.file} />;
  }
}

function Unreachable({ message }: { message: string }) {
  useEffect(() => {
    const timer = setInterval(() => void look(), RETRY_SECONDS * 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <main class="narrow">
      <div class="card" role="alert">
        <h1>No answer</h1>
        <p>{message}</p>
        <p class="muted">This page asks again every {RETRY_SECONDS} seconds.</p>
      </div>
    </main>
  );
}
