/** A result as JSON, to read, copy or save. Long lists are cut on the page only. */
import type { JsonObject } from "@aitbc/client";
import { Button } from "../components/controls/button.tsx";
import { CopyButton } from "../components/controls/copyable.tsx";
import { compactJson } from "../format/json.ts";
import { saved } from "../verification.ts";

const MOST = 100;

export function Json({ value, name }: { value: JsonObject; name: string }) {
  return (
    <div class="code">
      <div class="row code-head" data-between="true">
        <span class="small quiet">JSON</span>
        <span class="row">
          <CopyButton text={JSON.stringify(value, null, 2)} noun="result" />
          <Button
            size="small"
            kind="plain"
            icon="download"
            label="Save as a file"
            onClick={() => saved(value, name)}
          />
        </span>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it */}
      <pre class="json" tabIndex={0}>
        {compactJson(value, { most: MOST })}
      </pre>
    </div>
  );
}
