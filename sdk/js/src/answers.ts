// Generated from the OpenAPI document by .venv/bin/python scripts/pages/types_docs.py; do not edit.

import type { Json, JsonObject } from "./verification/shape.js";

export interface components {
    schemas: {
        Account: {
            accountId: string;
            name: string;
            /** @description Money, a decimal string */
            balance: string;
            /** @description Money, a decimal string */
            held: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        AccountPage: {
            accounts: components["schemas"]["Account"][];
            next?: string;
        };
        Artifact: {
            artifactId: string;
            size: number;
            mediaType: string;
        };
        ArtifactLink: {
            url: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
        };
        Attestation: {
            /** @enum {string} */
            type: "assignment" | "completion";
            /** @description UTC, RFC 3339 */
            timestamp: string;
            statementSha256: string;
            jobId: string;
            minerId: string;
            fence: string;
            signature: string;
        };
        BrowserSession: {
            sessionId: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
            keys: components["schemas"]["Key"][];
        };
        BrowserSessionList: {
            sessions: components["schemas"]["BrowserSession"][];
        };
        Credited: {
            transactionId: string;
            accountId: string;
            /** @description Money, a decimal string */
            amount: string;
            /** @description Money, a decimal string */
            balance: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        DatabaseNumbers: {
            commits: number;
            writes: number;
        };
        DayEarnings: {
            date: string;
            /** @description Money, a decimal string */
            amount: string;
            jobs: number;
        };
        Earnings: {
            minerId: string;
            days: components["schemas"]["DayEarnings"][];
            /** @description Money, a decimal string */
            total: string;
        };
        Enrolment: {
            enrolmentToken: string;
            uses: number;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
        };
        Envelope: {
            payloadType: string;
            payload: string;
            signatures: components["schemas"]["EnvelopeSignature"][];
        };
        EnvelopeSignature: {
            keyid: string;
            sig: string;
        };
        Exclusion: {
            minerId: string;
            /** @description UTC, RFC 3339 */
            excludedAt: string;
            requeuedJobs: number;
        };
        GivenKey: {
            role: components["schemas"]["Role"];
            /** @description The secret */
            key: string;
            keyId: string;
        };
        Hardware: {
            /** @enum {string} */
            gpu: "required" | "optional" | "unused";
            vram: number;
            memory: number;
            disk: number;
        };
        Health: {
            /** @enum {string} */
            status: "ok" | "degraded";
            version: string;
            environment: string;
            /** @description UTC, RFC 3339 */
            timestamp: string;
            services: {
                [key: string]: "healthy" | "unhealthy";
            };
            logKey: string;
        };
        IdleShare: {
            reason: string;
            share: number;
        };
        Inclusion: {
            minerId: string;
        };
        InputSchema: {
            [key: string]: components["schemas"]["JsonValue"];
        };
        JobCancelled: {
            jobId: string;
            /** @constant */
            status: "cancelled";
            /** @description UTC, RFC 3339 */
            cancelledAt: string;
        };
        JobCreated: {
            jobId: string;
            /** @enum {string} */
            status: "submitted" | "running" | "completed" | "failed" | "cancelled";
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            estimatedCompletion: string;
            /** @description Of a service call */
            serviceId?: string;
            /** @description Files that are still to be uploaded */
            missingFiles?: string[];
            results?: JsonObject;
            error?: components["schemas"]["JobError"];
        };
        JobError: {
            code: string;
            message: string;
        };
        JobPage: {
            jobs: components["schemas"]["JobStatus"][];
            total: number;
            limit: number;
            offset: number;
        };
        JobResults: {
            jobId: string;
            /** @constant */
            status: "completed";
            results: JsonObject;
            /** @description UTC, RFC 3339 */
            completedAt: string;
        };
        /** @enum {string} */
        JobState: "submitted" | "running" | "completed" | "failed" | "cancelled";
        JobStatus: {
            jobId: string;
            /** @enum {string} */
            status: "submitted" | "running" | "completed" | "failed" | "cancelled";
            progress: number;
            /** @description As the request wrote it */
            type: string;
            serviceId: string;
            name: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description Runs that have begun */
            attempts: number;
            /** @description UTC, RFC 3339 */
            startedAt?: string;
            /** @description UTC, RFC 3339 */
            estimatedCompletion?: string;
            /** @description UTC, RFC 3339 */
            completedAt?: string;
            /** @description UTC, RFC 3339 */
            failedAt?: string;
            /** @description UTC, RFC 3339 */
            cancelledAt?: string;
            minerId?: string;
            offerId?: string;
            /** @description Paid for a job that has ended; the rest of its max_cost came back */
            cost?: string;
            /** @description Of a failed job */
            error?: components["schemas"]["JobError"];
            /** @description Files that are still to be uploaded */
            missingFiles?: string[];
        };
        JsonValue: Json;
        Key: {
            keyId: string;
            role: components["schemas"]["Role"];
            name: string;
            accountId?: string;
            minerId?: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            revokedAt?: string;
        };
        KeyList: {
            keys: components["schemas"]["Key"][];
        };
        LoggedIn: {
            keys: components["schemas"]["GivenKey"][];
        };
        LoginLink: {
            token: string;
            /** @description At this server */
            path: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
        };
        MachineDownload: {
            model: string;
            done: number;
            total: number | null;
        };
        MachineGpu: {
            uuid: string;
            index: number;
            name: string;
            driver: string | null;
            computeCapability: string | null;
            memoryTotal: number | null;
            memoryFree: number | null;
            utilization: number | null;
            temperature: number | null;
            power: number | null;
            powerLimit: number | null;
            paused: string | null;
        };
        MachineJob: {
            jobId: string;
            serviceId: string;
            progress: number;
            startedAt: string | null;
        };
        MachineService: {
            serviceId: string;
            models: string[];
            loaded: string[];
            unavailableModels: string[];
            /** @description Money, a decimal string */
            unitPrice: string;
            unit: string | null;
            concurrency: number;
            downloadable: boolean;
            score: components["schemas"]["ServiceScore"] | null;
        };
        MarketStats: {
            totalJobs: number;
            activeJobs: number;
            completedJobs: number;
            failedJobs: number;
            averageCompletionTime: number;
            /** @description Money, a decimal string */
            totalVolume: string;
            activeMiners: number;
        };
        MinerDetails: {
            minerId: string;
            name: string;
            online: boolean;
            /** @description UTC, RFC 3339 */
            seenAt: string;
            /** @description UTC, RFC 3339 */
            registeredAt: string;
            session: number;
            agentVersion: string | null;
            paused: string | null;
            slots: number;
            cpuCores: number;
            memory: number;
            diskFree: number;
            sandbox: string | null;
            gpus: components["schemas"]["MachineGpu"][];
            services: components["schemas"]["MachineService"][];
            unavailable: {
                [key: string]: string[];
            };
            idle: components["schemas"]["IdleShare"][];
            downloads: components["schemas"]["MachineDownload"][];
            jobs: components["schemas"]["MachineJob"][];
            commands: components["schemas"]["WaitingCommand"][];
            reputation: number;
            /** @description Money, a decimal string */
            totalEarned: string;
        };
        MinerPage: {
            miners: components["schemas"]["MinerDetails"][];
            total: number;
            limit: number;
            offset: number;
        };
        MinerStats: {
            minerId: string;
            reputation: number;
            totalJobs: number;
            successRate: number;
            averageCompletionTime: number;
            /** @description Money, a decimal string */
            totalEarned: string;
            /** @description UTC, RFC 3339 */
            activeSince: string;
            failedRuns: number;
            clientFailures: number;
            refusedResults: number;
        };
        MinerSummary: {
            minerId: string;
            name: string;
            online: boolean;
            /** @description UTC, RFC 3339 */
            seenAt: string;
            session: number;
            paused: string | null;
            /** @description When an operator excluded it */
            excludedAt: string | null;
            excludedReason: string | null;
            services: string[];
            unavailable: {
                [key: string]: string[];
            };
            gpus: string[];
            slots: number;
        };
        ModelNeeds: {
            name: string;
            /** @enum {string} */
            kind: "model" | "adapter";
            vram: number;
            vramMin: number;
            memory: number;
        };
        NewAccount: {
            accountId: string;
            name: string;
        };
        NewKey: {
            keyId: string;
            role: components["schemas"]["Role"];
            name: string;
            accountId?: string;
            minerId?: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            revokedAt?: string;
            /** @description The secret */
            key: string;
        };
        Offer: {
            offerId: string;
            minerId: string;
            jobType: string;
            /** @description Money, a decimal string */
            price: string;
            /** @enum {string} */
            status: "active" | "exhausted" | "expired" | "withdrawn";
            standing: boolean;
            requirements: components["schemas"]["OfferRequirements"];
            /** @description UTC, RFC 3339 */
            createdAt: string;
            maxJobs?: number;
            jobsLeft?: number;
            /** @description UTC, RFC 3339 */
            expiresAt?: string;
            reputation?: number;
        };
        OfferAccepted: {
            transactionId: string;
            /** @enum {string} */
            status: "pending" | "settled" | "refunded";
            /** @description UTC, RFC 3339 */
            createdAt: string;
            jobId: string;
            offerId: string;
            minerId: string;
            /** @description Money, a decimal string */
            price: string;
        };
        OfferEnded: {
            offerId: string;
            /** @enum {string} */
            status: "expired" | "withdrawn";
        };
        OfferPage: {
            offers: components["schemas"]["Offer"][];
            next?: string;
        };
        OfferRequirements: {
            minGpuMemory?: string;
            minCpu?: string;
        };
        Overview: {
            jobs: {
                [key: string]: number;
            };
            miners: components["schemas"]["MinerSummary"][];
            database: components["schemas"]["DatabaseNumbers"];
        };
        OwnBrowserSession: {
            sessionId: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
            keys: components["schemas"]["Key"][];
            csrfToken: string;
        };
        OwnKeyList: {
            keys: components["schemas"]["Key"][];
            limit: number;
        };
        Price: {
            /** @description Money, a decimal string */
            lowest: string;
            /** @description Money, a decimal string */
            typical: string;
        };
        QueuedCommand: {
            commandId: string;
            /** @enum {string} */
            command: "pause" | "resume" | "fetch_model" | "remove_model";
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        Receipt: {
            receiptId: string;
            jobId: string;
            minerId: string;
            signature: components["schemas"]["Signature"];
            attestations: components["schemas"]["Attestation"][];
            /** @description UTC, RFC 3339 */
            createdAt: string;
            envelope: components["schemas"]["Envelope"];
        };
        ReceiptVerification: {
            valid: boolean;
            minerSignatureValid: boolean;
            /** @description How many of them hold */
            coordinatorAttestations: number;
            /** @description UTC, RFC 3339 */
            verifiedAt: string;
            failures: string[];
        };
        /** @enum {string} */
        Role: "client" | "miner" | "admin";
        ServiceDetails: {
            serviceId: string;
            name: string;
            category: string;
            description: string;
            tags: string[];
            unit: string;
            cpuUnit: string;
            determinism: string;
            /** @description What another miner need not repeat when it takes a job over; null: the job starts again */
            resumes: string | null;
            /** @description The path of its service call */
            route: string | null;
            requirements: components["schemas"]["Hardware"];
            /** @description Miners that offer it now, a few seconds old */
            minersOnline: number;
            /** @description Null while no miner is online */
            price: components["schemas"]["Price"] | null;
            /** @description Null while no miner that is online has measured itself */
            speed: components["schemas"]["Speed"] | null;
            /** @description Of each model that has been measured */
            durations: components["schemas"]["TypicalDuration"][];
            models: string[];
            ready: string[];
            adapters: string[];
            /** @description JSON Schema of the results */
            outputSchema: JsonObject;
        };
        ServiceList: {
            services: components["schemas"]["ServiceSummary"][];
            total: number;
        };
        ServiceNeeds: {
            /** @enum {string} */
            gpu: "required" | "optional" | "unused";
            vram: number;
            memory: number;
            disk: number;
            serviceId: string;
            models: components["schemas"]["ModelNeeds"][];
        };
        ServiceScore: {
            metric: string;
            value: number;
            device: string | null;
        };
        ServiceSummary: {
            serviceId: string;
            name: string;
            category: string;
            description: string;
            tags: string[];
            unit: string;
            cpuUnit: string;
            determinism: string;
            /** @description What another miner need not repeat when it takes a job over; null: the job starts again */
            resumes: string | null;
            /** @description The path of its service call */
            route: string | null;
            requirements: components["schemas"]["Hardware"];
            /** @description Miners that offer it now, a few seconds old */
            minersOnline: number;
            /** @description Null while no miner is online */
            price: components["schemas"]["Price"] | null;
            /** @description Null while no miner that is online has measured itself */
            speed: components["schemas"]["Speed"] | null;
            /** @description Of each model that has been measured */
            durations: components["schemas"]["TypicalDuration"][];
        };
        Signature: {
            sig: string;
            publicKey: string;
        };
        Speed: {
            metric: string;
            best: number;
            typical: number;
        };
        Transaction: {
            transactionId: string;
            /** @enum {string} */
            type: "credit" | "payment";
            /** @enum {string} */
            status: "pending" | "settled" | "refunded";
            /** @description Money, a decimal string */
            amount: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            jobId?: string;
            minerId?: string;
            /** @description Money, a decimal string */
            held?: string;
            /** @description Money, a decimal string */
            fee?: string;
            /** @description Money, a decimal string */
            refunded?: string;
            /** @description UTC, RFC 3339 */
            settledAt?: string;
            note?: string;
        };
        TransactionPage: {
            transactions: components["schemas"]["Transaction"][];
            next?: string;
        };
        TypicalDuration: {
            model: string | null;
            seconds: number;
        };
        Validation: {
            valid: boolean;
            errors: components["schemas"]["ValidationProblem"][];
            warnings: components["schemas"]["ValidationProblem"][];
        };
        ValidationProblem: {
            field: string;
            message: string;
        };
        WaitingCommand: {
            commandId: string;
            /** @enum {string} */
            command: "pause" | "resume" | "fetch_model" | "remove_model";
            /** @description UTC, RFC 3339 */
            createdAt: string;
            gpu: string | null;
            seconds: number | null;
            model: string | null;
        };
        Wallet: {
            accountId?: string;
            minerId?: string;
            /** @description Money, a decimal string */
            balance: string;
            /** @description Money, a decimal string */
            held: string;
            /** @description Money, a decimal string */
            issued?: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}

/** Who owns jobs, artifacts and money. */
export type Account = components["schemas"]["Account"];

/** Accounts, oldest first. `next` is what to send as `after` to go on, where there are more. */
export type AccountPage = components["schemas"]["AccountPage"];

/** A stored artifact; `size` in bytes. */
export type Artifact = components["schemas"]["Artifact"];

/** A signed link, relative to the API's address, and when it ends. */
export type ArtifactLink = components["schemas"]["ArtifactLink"];

/** What the coordinator signs about a run. */
export type Attestation = components["schemas"]["Attestation"];

/** A session: the keys that it acts with, without their secrets, and when it ends. */
export type BrowserSession = components["schemas"]["BrowserSession"];

/** Sessions, oldest first. */
export type BrowserSessionList = components["schemas"]["BrowserSessionList"];

/** A credit, and what the account can spend now. */
export type Credited = components["schemas"]["Credited"];

/** Since the start of the coordinator: how often the disk was waited for, and how many changes shared these commits. */
export type DatabaseNumbers = components["schemas"]["DatabaseNumbers"];

/** What came in on one UTC day, and for how many jobs. */
export type DayEarnings = components["schemas"]["DayEarnings"];

/** Earnings day by day, the newest last, and their sum. */
export type Earnings = components["schemas"]["Earnings"];

/** A token just made. */
export type Enrolment = components["schemas"]["Enrolment"];

/** The miner's signed statement, a DSSE envelope. */
export type Envelope = components["schemas"]["Envelope"];

/** The one signature of an envelope; `keyid` is empty. */
export type EnvelopeSignature = components["schemas"]["EnvelopeSignature"];

/** A miner that was excluded, and how many jobs were taken from it. */
export type Exclusion = components["schemas"]["Exclusion"];

/** A key of a dashboard's own, with its secret. */
export type GivenKey = components["schemas"]["GivenKey"];

/** What a machine needs to offer a service. Sizes are bytes; `gpu` says whether one is needed, used if there, or never used. */
export type Hardware = components["schemas"]["Hardware"];

/** Whether the coordinator works. `logKey` is what receipts are verified with. */
export type Health = components["schemas"]["Health"];

/** A part of the last hour, and what it was spent with: `working`, or why there was no work. */
export type IdleShare = components["schemas"]["IdleShare"];

/** A miner that may take part again. */
export type Inclusion = components["schemas"]["Inclusion"];

/** A JSON Schema, draft 2020-12. */
export type InputSchema = components["schemas"]["InputSchema"];

/** A cancelled job. */
export type JobCancelled = components["schemas"]["JobCancelled"];

/** A new job. With `Prefer: wait=N` it may have ended already, with `results` or an `error`. */
export type JobCreated = components["schemas"]["JobCreated"];

/** Why a job failed. */
export type JobError = components["schemas"]["JobError"];

/** Jobs, newest first, and how many there are in all. */
export type JobPage = components["schemas"]["JobPage"];

/** The results of a completed job, in the shape that its service defines. */
export type JobResults = components["schemas"]["JobResults"];

/** The state of a job. The last three are final. */
export type JobState = components["schemas"]["JobState"];

/** A job; what does not apply is left out. */
export type JobStatus = components["schemas"]["JobStatus"];

export type JsonValue = components["schemas"]["JsonValue"];

/** A key without its secret; what does not apply is left out. */
export type Key = components["schemas"]["Key"];

/** All keys, revoked ones too. */
export type KeyList = components["schemas"]["KeyList"];

/** What the login link gives: keys by their roles. */
export type LoggedIn = components["schemas"]["LoggedIn"];

/** A link just made, good once. */
export type LoginLink = components["schemas"]["LoginLink"];

/** A model on its way to the disk, in bytes; `total` is null while unknown. */
export type MachineDownload = components["schemas"]["MachineDownload"];

/**
 * A card. Memory in bytes, utilization in percent, temperature in degrees Celsius, power in watts; null where unknown.
 *
 * `paused` is the reason for which it takes no work.
 */
export type MachineGpu = components["schemas"]["MachineGpu"];

/** A job that runs on the miner. */
export type MachineJob = components["schemas"]["MachineJob"];

/** A service that the miner offers: models on its disk, those loaded now, those that it does not take now. */
export type MachineService = components["schemas"]["MachineService"];

/** The whole market. `averageCompletionTime` is seconds from a miner getting a job to its result. */
export type MarketStats = components["schemas"]["MarketStats"];

/**
 * A machine. Sizes are bytes; `paused` is its reason for taking no work; `unavailable` says why services are not offered.
 *
 * `sandbox` is what isolates programs that read clients' files: bubblewrap, landlock or none; null where none works or the
 * agent is too old to say. `idle` is where its last hour went, as shares that sum to 1; empty where the agent is too old to say.
 */
export type MinerDetails = components["schemas"]["MinerDetails"];

/** Miners, the newest first, and how many there are. */
export type MinerPage = components["schemas"]["MinerPage"];

/**
 * What a miner has done. `totalJobs` are its results and the runs that failed by its fault (docs/explanation/reputation.md).
 *
 * `clientFailures` are the runs that failed by their clients' fault, as the miner said.
 */
export type MinerStats = components["schemas"]["MinerStats"];

/** A miner. `paused` is its reason for taking no work; `unavailable` says why services are not offered. */
export type MinerSummary = components["schemas"]["MinerSummary"];

/** What a model takes, in bytes: VRAM at full speed and at least, and memory where there is no GPU. */
export type ModelNeeds = components["schemas"]["ModelNeeds"];

/** An account just made. */
export type NewAccount = components["schemas"]["NewAccount"];

/** A key just made, with its secret. */
export type NewKey = components["schemas"]["NewKey"];

/**
 * A miner's price for each metered unit of jobs of a type or name.
 *
 * A `standing` offer follows from the miner's configured prices and has neither `maxJobs` nor an end.
 */
export type Offer = components["schemas"]["Offer"];

/** The payment of a job that was given to an offer: pending until the job ends. `price` is what a unit will cost. */
export type OfferAccepted = components["schemas"]["OfferAccepted"];

/** An offer that takes no new jobs any more. */
export type OfferEnded = components["schemas"]["OfferEnded"];

/** Offers. `next` is what to send as `before` to go on in your own ones, where there are more. */
export type OfferPage = components["schemas"]["OfferPage"];

/** What the offer's machine has at least: memory of its largest GPU, and CPU. */
export type OfferRequirements = components["schemas"]["OfferRequirements"];

/** How many jobs are in each state, all miners, and what the database has written. */
export type Overview = components["schemas"]["Overview"];

/** The caller's session, and the token that its changing requests send as `X-CSRF-Token`. */
export type OwnBrowserSession = components["schemas"]["OwnBrowserSession"];

/** The valid keys of the caller's account, oldest first, and how many it may have. */
export type OwnKeyList = components["schemas"]["OwnKeyList"];

/** What miners ask for a unit: the lowest price, and the median. */
export type Price = components["schemas"]["Price"];

/** A command that the miner is sent until it has executed. */
export type QueuedCommand = components["schemas"]["QueuedCommand"];

/** The miner's signed statement with the coordinator's attestations. */
export type Receipt = components["schemas"]["Receipt"];

/** What a verification found; `failures` names each part that does not hold. */
export type ReceiptVerification = components["schemas"]["ReceiptVerification"];

/** What a key is for. */
export type Role = components["schemas"]["Role"];

/**
 * A service in full. `models` are the names that a request may use, `adapters` those that it may use beside.
 *
 * `ready` are those of them that a miner who is online has, a few seconds old. With another one a job waits until it is fetched.
 */
export type ServiceDetails = components["schemas"]["ServiceDetails"];

/** Services and how many they are. */
export type ServiceList = components["schemas"]["ServiceList"];

/** What a service needs, and each model of the catalogue beside it. */
export type ServiceNeeds = components["schemas"]["ServiceNeeds"];

/** How fast the miner was in a benchmark of its own. */
export type ServiceScore = components["schemas"]["ServiceScore"];

/** A service. `unit` is what it is metered in, `cpuUnit` where there is no GPU; `determinism` how two results compare. */
export type ServiceSummary = components["schemas"]["ServiceSummary"];

/** The miner's signature and key, base64. */
export type Signature = components["schemas"]["Signature"];

/** What miners have measured of themselves: the best value, and the median. */
export type Speed = components["schemas"]["Speed"];

/** A credit, or the payment of a job: `held` at its submission, then `amount` paid (`fee` included) and the rest `refunded`. */
export type Transaction = components["schemas"]["Transaction"];

/** Transactions, newest first. `next` is what to send as `before` to go on, where there are more. */
export type TransactionPage = components["schemas"]["TransactionPage"];

/** Typical seconds of a run with a model; `model` is null where the service has none. */
export type TypicalDuration = components["schemas"]["TypicalDuration"];

/** `errors` are what such a request would be refused for, `warnings` what its client should know before. */
export type Validation = components["schemas"]["Validation"];

/** A validation error or a warning. `field` is a dotted path into `request_data`, or `serviceId`. */
export type ValidationProblem = components["schemas"]["ValidationProblem"];

/** A command that the miner has not executed yet; null where something does not apply. */
export type WaitingCommand = components["schemas"]["WaitingCommand"];

/**
 * Decimal strings. `balance` can be spent (a miner's: was earned), `held` waits in escrow for unfinished jobs.
 *
 * Administrators see the operator's fees as balance, and under `issued` all that was ever credited.
 */
export type Wallet = components["schemas"]["Wallet"];
