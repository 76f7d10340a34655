/**
 * Form fields. Each has a label and optionally a help text and an error, which screen readers announce with it.
 *
 *   <TextField label="Name" value={name} onInput={setName} help="Shown in lists." error={errors.name} />
 *   <TextField label="Prompt" lines={5} value={prompt} onInput={setPrompt} required />
 *   <NumberField label="Steps" value={steps} onInput={setSteps} min={1} max={150} whole />    undefined when empty
 *   <SelectField label="Engine" value={engine} onInput={setEngine} options={[{ value: "cycles", label: "Cycles" }]} />
 *   <CheckField label="Video" checked={video} onInput={setVideo} />
 *   <ChoicesField label="Formats" values={formats} onInput={setFormats} options={...} />          any number of options
 *
 * For another kind of control: <Field label help error>{(control) => <input {...control} />}</Field>
 */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

export interface FieldProps {
  label: string;
  help?: ComponentChildren;
  error?: string | undefined;
  /** Other fields are marked as optional, unless `quiet`. */
  required?: boolean;
  quiet?: boolean;
}

interface Control {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": boolean;
  "aria-required": boolean;
}

export interface Option {
  value: string;
  label: string;
  disabled?: boolean;
  /** Options of the same group are listed under its name. */
  group?: string;
}

export function Field({
  label,
  help,
  error,
  required = false,
  quiet = false,
  children,
}: FieldProps & { children: (control: Control) => ComponentChildren }) {
  const id = useId();
  return (
    <div class="field" data-field={label}>
      <label class="field-label" htmlFor={id}>
        <span>{label}</span> {!required && !quiet && <span class="field-optional">optional</span>}
      </label>
      {children(control(id, { help, error, required }))}
      <Notes id={id} help={help} error={error} />
    </div>
  );
}

function control(
  id: string,
  { help, error, required }: Pick<FieldProps, "help" | "error" | "required">,
): Control {
  const described = [error && `${id}-error`, help && `${id}-help`].filter(Boolean).join(" ");
  return {
    id,
    "aria-describedby": described || undefined,
    "aria-invalid": Boolean(error),
    "aria-required": Boolean(required),
  };
}

function Notes({ id, help, error }: { id: string } & Pick<FieldProps, "help" | "error">) {
  return (
    <>
      {error && (
        <p class="field-error" id={`${id}-error`}>
          {error}
        </p>
      )}
      {help && (
        <p class="field-help" id={`${id}-help`}>
          {help}
        </p>
      )}
    </>
  );
}

type TextProps = FieldProps & {
  value: string;
  onInput: (value: string) => void;
  placeholder?: string | undefined;
  /** Common values to choose from. */
  suggestions?: string[];
  /** Shown behind the value, such as "credits". */
  unit?: string | undefined;
  /** With more than one, a multi-line field. */
  lines?: number;
  /** Program text: monospaced and not spell-checked. */
  code?: boolean;
  /** Hide the input. */
  secret?: boolean;
  autocomplete?: string;
  maxLength?: number | undefined;
  onKeyDown?: (event: KeyboardEvent) => void;
};

export function TextField({ value, onInput, lines = 1, code = false, secret = false, ...rest }: TextProps) {
  const { placeholder, autocomplete = "off", maxLength, onKeyDown, suggestions = [], unit, ...field } = rest;
  const shared = {
    class: "input",
    value,
    placeholder,
    maxLength,
    onKeyDown,
    autocomplete,
    spellcheck: !code,
    "data-code": code,
    onInput: (event: { currentTarget: { value: string } }) => onInput(event.currentTarget.value),
  };
  return (
    <Field {...field}>
      {(control) =>
        lines > 1 ? (
          <textarea {...control} {...shared} rows={lines} />
        ) : secret ? (
          <input {...control} {...shared} type="password" />
        ) : (
          <WithUnit unit={unit}>
            <input
              {...control}
              {...shared}
              type="text"
              list={suggestions.length > 0 ? `${control.id}-suggestions` : undefined}
            />
            {suggestions.length > 0 && (
              <datalist id={`${control.id}-suggestions`}>
                {suggestions.map((suggestion) => (
                  <option key={suggestion} value={suggestion} />
                ))}
              </datalist>
            )}
          </WithUnit>
        )
      }
    </Field>
  );
}

function WithUnit({ unit, children }: { unit: string | undefined; children: ComponentChildren }) {
  if (unit === undefined) return <>{children}</>;
  return (
    <span class="with-unit">
      {children}
      <span class="unit" aria-hidden="true">
        {unit}
      </span>
    </span>
  );
}

type NumberProps = FieldProps & {
  value: number | undefined;
  onInput: (value: number | undefined) => void;
  placeholder?: string | undefined;
  min?: number | undefined;
  max?: number | undefined;
  unit?: string | undefined;
  integer?: boolean;
};

export function NumberField({
  value,
  onInput,
  placeholder,
  min,
  max,
  unit,
  integer = false,
  ...field
}: NumberProps) {
  return (
    <Field {...field}>
      {(control) => (
        <WithUnit unit={unit}>
          <input
            {...control}
            class="input"
            type="number"
            inputMode={integer ? "numeric" : "decimal"}
            value={value ?? ""}
            placeholder={placeholder}
            min={min}
            max={max}
            step={integer ? 1 : "any"}
            onInput={(event) => {
              const number = event.currentTarget.valueAsNumber;
              onInput(Number.isNaN(number) ? undefined : number);
            }}
          />
        </WithUnit>
      )}
    </Field>
  );
}

type SelectProps = FieldProps & { value: string; onInput: (value: string) => void; options: Option[] };

export function SelectField({ value, onInput, options, ...field }: SelectProps) {
  return (
    <Field {...field}>
      {(control) => (
        <select
          {...control}
          class="input"
          value={value}
          onChange={(event) => onInput(event.currentTarget.value)}
        >
          {grouped(options).map(([group, inside]) =>
            group === undefined ? (
              inside.map((option) => <Choice key={option.value} option={option} chosen={value} />)
            ) : (
              <optgroup key={group} label={group}>
                {inside.map((option) => (
                  <Choice key={option.value} option={option} chosen={value} />
                ))}
              </optgroup>
            ),
          )}
        </select>
      )}
    </Field>
  );
}

function Choice({ option, chosen }: { option: Option; chosen: string }) {
  return (
    <option value={option.value} disabled={option.disabled} selected={option.value === chosen}>
      {option.label}
    </option>
  );
}

function grouped(options: Option[]): [string | undefined, Option[]][] {
  const names = [...new Set(options.map((option) => option.group))];
  return names.map((name) => [name, options.filter((option) => option.group === name)]);
}

type CheckProps = Pick<FieldProps, "label" | "help" | "error"> & {
  checked: boolean;
  onInput: (checked: boolean) => void;
};

export function CheckField({ label, help, error, checked, onInput }: CheckProps) {
  const id = useId();
  return (
    <div class="check" data-field={label}>
      <input
        {...control(id, { help, error })}
        type="checkbox"
        checked={checked}
        onChange={(event) => onInput(event.currentTarget.checked)}
      />
      <label htmlFor={id}>{label}</label>
      <Notes id={id} help={help} error={error} />
    </div>
  );
}

type ChoicesProps = Pick<FieldProps, "label" | "help" | "error"> & {
  values: string[];
  onInput: (values: string[]) => void;
  options: Option[];
};

export function ChoicesField({ label, help, error, values, onInput, options }: ChoicesProps) {
  const id = useId();
  const choose = (value: string, chosen: boolean) =>
    onInput(chosen ? [...values, value] : values.filter((other) => other !== value));
  return (
    <fieldset class="field" data-field={label} aria-describedby={error ? `${id}-error` : undefined}>
      <legend>{label}</legend>
      <div class="choices">
        {options.map((option) => (
          <CheckField
            key={option.value}
            label={option.label}
            checked={values.includes(option.value)}
            onInput={(chosen) => choose(option.value, chosen)}
          />
        ))}
      </div>
      <Notes id={id} help={help} error={error} />
    </fieldset>
  );
}
