import { render } from "preact";
import { App } from "./app";
import { begin } from "./state/session";
import "media-captions/styles/captions.css";
import "./style.css";

const root = document.getElementById("app");
if (root) render(<App />, root);
void begin();
