/** The model of a conversation, and its settings. */
import type { ServiceSupply } from "@aitbc/client";
import { Button } from "../../components/controls/button.tsx";
import { Dialog } from "../../components/controls/dialog.tsx";
import { NumberField, type Option, SelectField, TextField } from "../../components/controls/field.tsx";
import type { Settings } from "./answer.ts";

export interface SettingsProps {
  settings: Settings;
  onChange: (settings: Settings) => void;
}

/** Return the models of a service: those that answer now, those that a miner would download first, and the others. */
export function modelOptions(service: ServiceSupply | undefined): Option[] {
  const groups = ["Available now", "After a download", "Not available now"];
  const options = (service?.models ?? []).map(({ name, available, downloadable }) => {
    const index = available ? 0 : downloadable ? 1 : 2;
    return { value: name, label: name, group: groups[index], disabled: index === 2 };
  });
  return options.sort((one, other) => groups.indexOf(one.group ?? "") - groups.indexOf(other.group ?? ""));
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

interface MoreSettingsProps extends SettingsProps {
  open: boolean;
  onClose: () => void;
}

export function MoreSettings({ settings, onChange, open, onClose }: MoreSettingsProps) {
  return (
    <Dialog
      title="Settings of the answers"
      open={open}
      onClose={onClose}
      actions={
        <Button kind="main" onClick={onClose}>
          Done
        </Button>
      }
    >
      <div class="stack">
        <TextField
          label="Instructions for the model"
          lines={3}
          value={settings.system}
          onInput={(system) => onChange({ ...settings, system })}
          placeholder="Answer briefly and in English."
          help="It follows them in each answer."
        />
        <NumberField
          label="Longest answer"
          quiet
          integer
          unit="tokens"
          help="A longer one is cut off. 100 tokens are about 75 English words."
          min={1}
          max={32768}
          value={settings.maxTokens}
          onInput={(maxTokens) => onChange({ ...settings, maxTokens })}
        />
        <NumberField
          label="Temperature"
          quiet
          help="0 always takes the likeliest word, which suits facts and code; 0.7 sounds natural; up to 2 grows wilder."
          min={0}
          max={2}
          value={settings.temperature}
          onInput={(temperature) => onChange({ ...settings, temperature })}
        />
      </div>
    </Dialog>
  );
}
