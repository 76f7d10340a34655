import { VERSION } from "@aitbc/client";
import { render } from "preact";

const root = document.getElementById("app");
if (root) {
  render(<p>AITBC {VERSION}</p>, root);
}
