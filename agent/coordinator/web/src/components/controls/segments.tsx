/**
 * A choice between a few alternatives, such as filters or kinds of input.
 *
 *   <Segments label="Show" value={status} onInput={setStatus} options={[{ value: "", label: "All" }]} />
 */
import type { Option } from "./field.tsx";

export interface SegmentsProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  options: Option[];
}

export function Segments({ label, value, onInput, options }: SegmentsProps) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would add a frame and a legend to a few buttons
    <div class="segments" role="group" aria-label={label}>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          aria-pressed={option.value === value}
          onClick={() => onInput(option.value)}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}
