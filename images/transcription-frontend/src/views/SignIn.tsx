import { useState } from "preact/hooks";
import { signIn } from "../state/session";
import { reason } from "../text";

export function SignIn() {
  const [token, setToken] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await signIn(token);
    } catch (failure) {
      setError(reason(failure));
      setBusy(false);
    }
  };

  return (
    <main class="narrow">
      <form class="card sign-in" onSubmit={(event) => void submit(event)}>
        <h1>Sign in</h1>
        <p>
          This service wants the token of its stack. On its host it is in the file <code>transcription-token</code> in{" "}
          <code>~/.local/state/cslr/cslr/STACK/generated</code>.
        </p>
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          autofocus
          required
          value={token}
          aria-invalid={error !== null}
          aria-describedby={error === null ? undefined : "token-error"}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        {error !== null && (
          <p id="token-error" class="error" role="alert">
            {error}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy || !token.trim()}>
          Sign in
        </button>
      </form>
    </main>
  );
}
