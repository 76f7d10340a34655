/** The model of a conversation, and its settings. */
import type { ServiceSupply } from "@aitbc/client";
import { NumberField, type Option, SelectField, TextField } from "../../components/controls/field.tsx";
import { price } from "../../format/sale_units.ts";
import type { Settings } from "./answer.ts";

export interface SettingsProps {
  settings: Settings;
  onChange: (settings: Settings) => void;
}

/** Return the models of a service: those that answer now, those that a miner would download first, and the others. */
export function modelOptions(service: ServiceSupply | undefined): Option[] {
  const models = service?.models ?? [];
  const now = models.filter(({ available }) => available);
  const later = models.filter(({ available, downloadable }) => !available && downloadable);
  const others = models.filter(({ available, downloadable }) => !available && !downloadable);
  return [
    ...now.map((model) => ({ value: model.name, label: withPrice(model, service), group: "Available now" })),
    ...later.map((model) => ({
      value: model.name,
      label: withPrice(model, service),
      group: "After a download",
    })),
    ...others.map(({ name }) => ({ value: name, label: name, group: "Not available now", disabled: true })),
  ];
}

function withPrice(model: ServiceSupply["models"][number], service: ServiceSupply | undefined): string {
  return model.price && service ? `${model.name} (from ${price(model.price, service)})` : model.name;
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
