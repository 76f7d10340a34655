import { render } from "preact";
import { App } from "./app.tsx";
import "./styles/fonts.css";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/commands.css";
import "./styles/controls.css";
import "./styles/surfaces.css";
import "./styles/views.css";
import "./styles/jobs.css";
import "./styles/chat.css";
import "./styles/motion.css";
import { applyTheme } from "./theme.ts";

applyTheme();

const root = document.getElementById("app");
if (root) render(<App />, root);
