/** The model of a conversation, and its settings. */
import type { ServiceSupply } from "@aitbc/client";
import { NumberField, type Option, SelectField, TextField } from "../../components/controls/field.tsx";
import { money } from "../../format/money.ts";
import { unitName } from "../../format/names.ts";
import type { Settings } from "./answer.ts";

export interface SettingsProps {
  settings: Settings;
  onChange: (settings: Settings) => void;
}

/** Return the models: those that answer now, those that a miner would download first, and the others. */
export function modelOptions(models: ServiceSupply["models"]): Option[] {
  const now = models.filter(({ available }) => available);
  const later = models.filter(({ available, downloadable }) => !available && downloadable);
  const others = models.filter(({ available, downloadable }) => !available && !downloadable);
  return [
    ...now.map((model) => ({ value: model.name, label: withPrice(model), group: "Available now" })),
    ...later.map((model) => ({ value: model.name, label: withPrice(model), group: "After a download" })),
    ...others.map(({ name }) => ({ value: name, label: name, group: "Not available now", disabled: true })),
  ];
}

function withPrice({ name, price, unit }: ServiceSupply["models"][number]): string {
  return price && unit ? `${name} (from ${money(price)} per ${unitName(unit)})` : name;
}

export function ModelField({ settings, onChange, models }: SettingsProps & { models: Option[] }) {
  return (
    <SelectField
      label="Model"
      quiet
      value={settings.model}
      onInput={(model) => onChange({ ...settings, model })}
      options={models}
    />
  );
}

export function MoreSettings({ settings, onChange }: SettingsProps) {
  return (
    <details class="fold">
      <summary>More settings</summary>
      <div class="form-fields">
        <TextField
          label="Instructions for the model"
          lines={2}
          value={settings.system}
          onInput={(system) => onChange({ ...settings, system })}
          placeholder="Answer briefly and in English."
        />
        <NumberField
          label="Maximum tokens of an answer"
          quiet
          integer
          min={1}
          max={32768}
          value={settings.maxTokens}
          onInput={(maxTokens) => onChange({ ...settings, maxTokens })}
        />
        <NumberField
          label="Temperature"
          quiet
          help="0 always picks the most likely word; higher values vary more."
          min={0}
          max={2}
          value={settings.temperature}
          onInput={(temperature) => onChange({ ...settings, temperature })}
        />
      </div>
    </details>
  );
}
