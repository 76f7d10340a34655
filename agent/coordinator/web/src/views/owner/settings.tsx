/** A machine's prices, schedule and engines to edit, and who changed what and when. */
import type { GivenCommand, MinerDetails, MinerSettings } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { type FieldOf, FormButton } from "../../components/controls/form-dialog.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { notify } from "../../components/toast.tsx";
import { sentence, serviceName } from "../../format/names.ts";
import { priceHelp } from "../../format/sale_units.ts";
import { usePolled } from "../../poll.ts";
import { api, type Role } from "../../session.ts";
import { describe } from "./commands.ts";

/** Seconds between polls; shorter while a command waits. */
const USUAL = 10;
const HURRY = 1;

export function Settings({ machine, by }: { machine: MinerDetails; by: Role }) {
  const { minerId, online } = machine;
  const settings = usePolled(
    (signal) => api(by).miners.settings(minerId, { signal }),
    (data) => (online && data?.history.some((command) => !command.executedAt) ? HURRY : USUAL),
    [by, minerId],
  );
  return (
    <Loaded from={settings} lines={3} height="8rem">
      {(data) => (
        <>
          <Current settings={data} by={by} reload={settings.reload} />
          {data.history.length > 0 && (
            <Card title="Commands" note="newest first">
              <History commands={data.history} machine={machine} />
            </Card>
          )}
        </>
      )}
    </Loaded>
  );
}

interface EditorProps {
  settings: MinerSettings;
  by: Role;
  reload: () => void;
}

/** What is set, and the dialog that changes it. */
function Current(props: EditorProps) {
  const { prices, schedule, engines } = props.settings;
  const own = prices.filter(({ setting }) => setting !== null);
  return (
    <Card title="Prices, schedule and engines" action={<Editor {...props} />}>
      <Facts
        items={[
          [
            "Own prices",
            own.map(({ serviceId }) => serviceName(serviceId)).join(", ") || "none; all are the defaults",
          ],
          ["Pauses", schedule.join(", ") || "none scheduled"],
          ...engines
            .filter(hasChoice)
            .map(({ serviceId, engines }): [string, string] => [
              serviceName(serviceId),
              engines[0] ?? "the agent's own",
            ]),
        ]}
      />
    </Card>
  );
}

/** The fields that were edited, by name; all others show the machine's settings. */
type Draft = Record<string, string>;

function Editor({ settings, by, reload }: EditorProps) {
  const current = valuesOf(settings);
  const changed = (draft: Draft) => Object.keys(draft).filter((name) => draft[name] !== current[name]);
  const save = async (draft: Draft) => {
    await api(by).miners.changeSettings(settings.minerId, changeOf(settings, draft, changed(draft)));
    reload();
    notify("The change was sent to the machine.");
  };
  return (
    <FormButton
      title="Prices, schedule and engines"
      label={settings.locked ? "Show" : "Change"}
      action="Save"
      kind="normal"
      size="small"
      icon="settings"
      initial={{} as Draft}
      ready={(draft) => changed(draft).length > 0}
      onSend={save}
    >
      {(field, draft) => (
        <>
          {settings.locked ? (
            <Notice tone="still" title="These settings can only be changed on the machine">
              <p>{settings.locked}</p>
            </Notice>
          ) : (
            <p class="small quiet">
              A change is written to the machine's settings file and applies without a restart.
            </p>
          )}
          <Fields
            settings={settings}
            edit={(name) => ({ ...field(name), value: draft[name] ?? current[name] ?? "", quiet: true })}
            enginesError={field("engines").error}
          />
          <p class="small quiet">
            On the machine, <code>aitbc-agent bench --apply</code> benchmarks it and sets prices, and{" "}
            <code>aitbc-agent engines list</code> shows further engines to install.
          </p>
        </>
      )}
    </FormButton>
  );
}

interface FieldsProps {
  settings: MinerSettings;
  edit: (name: string) => ReturnType<FieldOf<Record<string, string>>> & { quiet: true };
  /** The API checks all engines as one field. */
  enginesError: string | undefined;
}

function Fields({ settings, edit, enginesError }: FieldsProps) {
  return (
    <fieldset class="stack" disabled={settings.locked !== null}>
      <div class="form-grid">
        {settings.prices.map((price) => {
          const field = edit(`prices.${price.serviceId}`);
          return (
            <TextField
              key={price.serviceId}
              label={`Price of ${serviceName(price.serviceId)}`}
              {...field}
              placeholder={price.default}
              help={`${priceHelp(field.value || price.default, price)}${field.value ? "" : " This is the default."}`}
            />
          );
        })}
        {settings.engines.filter(hasChoice).map(({ serviceId, engines }) => (
          <SelectField
            key={serviceId}
            label={`Engine of ${serviceName(serviceId)}`}
            {...edit(`engines.${serviceId}`)}
            error={enginesError}
            options={[
              { value: "", label: "Automatic" },
              ...engines.flatMap((engine) => (engine ? [{ value: engine, label: engine }] : [])),
            ]}
            help={`In use: ${engines[0] ?? "the agent's own"}`}
          />
        ))}
      </div>
      <TextField
        label="Schedule of pauses"
        {...edit("schedule")}
        lines={3}
        code
        placeholder="Mon-Fri 09:00-18:00"
        help="Times of the week at which the machine accepts no jobs, in its local time, one per line: Mon-Fri 09:00-18:00, Sat,Sun 00:00-24:00, 22:00-06:00."
      />
    </fieldset>
  );
}

type Engines = MinerSettings["engines"][number];

function hasChoice({ engines }: Engines): boolean {
  return engines.length > 1;
}

/** Return the machine's settings as the fields show them. */
function valuesOf({ prices, schedule, engines, preferredEngines }: MinerSettings): Draft {
  return {
    schedule: schedule.join("\n"),
    ...Object.fromEntries(prices.map(({ serviceId, setting }) => [`prices.${serviceId}`, setting ?? ""])),
    ...Object.fromEntries(
      engines.map(({ serviceId, engines }) => [
        `engines.${serviceId}`,
        engines.find((engine) => engine && preferredEngines.includes(engine)) ?? "",
      ]),
    ),
  };
}

/** Return the request for the changed fields. */
function changeOf({ engines, preferredEngines }: MinerSettings, draft: Draft, changed: string[]) {
  const of = (kind: string) => changed.filter((name) => name.startsWith(`${kind}.`));
  const prices = of("prices").map((name) => [name.slice(7), draft[name]?.trim() || null]);
  const chosen = new Set(preferredEngines);
  for (const { serviceId, engines: candidates } of engines) {
    const name = `engines.${serviceId}`;
    if (!changed.includes(name)) continue;
    for (const engine of candidates) if (engine) chosen.delete(engine);
    if (draft[name]) chosen.add(draft[name]);
  }
  return {
    prices: Object.fromEntries(prices),
    schedule: changed.includes("schedule")
      ? (draft.schedule ?? "").split("\n").flatMap((line) => line.trim() || [])
      : undefined,
    engines: of("engines").length > 0 ? [...chosen] : undefined,
  };
}

function History({ commands, machine }: { commands: GivenCommand[]; machine: MinerDetails }) {
  return (
    <Table
      caption="Commands"
      rows={commands}
      rowKey={(command) => command.commandId}
      columns={[
        { title: "Command", cell: (command) => <What command={command} machine={machine} /> },
        { title: "By", cell: (command) => sentence(command.givenBy) },
        { title: "Status", cell: (command) => <Outcome command={command} />, shrink: true },
        { title: "When", cell: (command) => <Ago at={command.createdAt} />, shrink: true, align: "end" },
      ]}
    />
  );
}

function What({ command, machine }: { command: GivenCommand; machine: MinerDetails }) {
  return (
    <div>
      {command.changes.length === 0 && describe(command, machine)}
      {command.changes.map(({ setting, before, after }) => (
        <div key={setting}>
          {settingName(setting)}: {shown(before)} {"\u2192"} {shown(after)}
        </div>
      ))}
      {command.refusal.map((reason) => (
        <div class="small" key={reason}>
          {reason}
        </div>
      ))}
    </div>
  );
}

/** Format a value of the settings file, a list without brackets and quotes. */
function shown(value: string | null): string {
  return value?.replaceAll(/[[\]"]/g, "") ?? "default";
}

function settingName(key: string): string {
  const [, service] = /^miner\.prices\.(.*)/.exec(key) ?? [];
  if (service) return `Price of ${serviceName(service)}`;
  return key === "engines.preferred" ? "Preferred engines" : "Schedule of pauses";
}

function Outcome({ command: { executedAt, refusal } }: { command: GivenCommand }) {
  if (!executedAt) return <Badge tone="wait" icon="wait" word="Waiting" />;
  return refusal.length > 0 ? (
    <Badge tone="bad" icon="cross" word="Refused" />
  ) : (
    <Badge tone="good" icon="check" word="Done" />
  );
}
