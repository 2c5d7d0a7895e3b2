import { HOME } from "../state/route";
import { theme, type Theme } from "../state/preferences";
import { access, signOut } from "../state/session";
import { notify } from "../state/notices";
import { reason } from "../text";
import { Icon, type IconName } from "./icons";

const THEMES: Record<Theme, { next: Theme; icon: IconName; label: string }> = {
  auto: { next: "light", icon: "auto", label: "Colours: as the system. Change to light" },
  light: { next: "dark", icon: "sun", label: "Colours: light. Change to dark" },
  dark: { next: "auto", icon: "moon", label: "Colours: dark. Change to the system's" },
};

export function Header() {
  const found = THEMES[theme.value];
  const now = access.value;
  return (
    <header class="top">
      <a class="brand" href={HOME}>
        <img src="./icon.svg" alt="" width="26" height="26" />
        Transcription
      </a>
      {now.state === "in" && <span class="stack">{now.session.stack}</span>}
      <span class="spring" />
      <button
        type="button"
        class="plain"
        title={found.label}
        aria-label={found.label}
        onClick={() => (theme.value = found.next)}
      >
        <Icon name={found.icon} />
      </button>
      {now.state === "in" && (
        <button
          type="button"
          class="plain"
          title="Sign out"
          aria-label="Sign out"
          onClick={() => void signOut().catch((error: unknown) => notify("error", reason(error)))}
        >
          <Icon name="exit" />
        </button>
      )}
    </header>
  );
}
