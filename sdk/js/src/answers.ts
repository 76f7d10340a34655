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
            /** @description Until then few of its jobs run at a time (`coordinator.slowed_jobs`), because too many failed through their own errors */
            slowedUntil?: string;
        };
        AccountPage: {
            accounts: components["schemas"]["Account"][];
            next?: string;
        };
        Adapter: {
            adapter: string;
            /** @description Currencies with their decimals */
            currencies: {
                [key: string]: number;
            };
            byHand: boolean;
            fault?: string;
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
        Audit: {
            auditId: string;
            jobId: string;
            receiptId: string;
            minerId: string;
            service: string;
            model: string | null;
            /**
             * @description `check`: of a finished job; `third`: a further opinion about it; `canary`: of a job with a known answer; `second_opinion`: requested by the miner's owner
             * @enum {string}
             */
            kind: "check" | "third" | "canary" | "second_opinion";
            /** @enum {string} */
            status: "waiting" | "running" | "decided";
            /** @description The auditor's own opinion; null until it answers */
            opinion: ("pass" | "fail" | "unproven") | null;
            /** @description The audit's decision; of several opinions, that of two that agree */
            verdict: ("pass" | "fail" | "unproven") | null;
            /** @description What was compared, by name; each distance grows with the difference */
            distances: {
                [key: string]: number;
            };
            /** @description The distances above which the comparison fails */
            limits: {
                [key: string]: number;
            };
            /** @description The worst position */
            where: string;
            reason: string;
            /** @description The `reason` of an opinion that agrees with the verdict: of another one, if this opinion does not; null until there is a verdict */
            verdictReason: string | null;
            /** @description Why it proves nothing, as far as the miner can change that. `miner`: what it sent or stated cannot be compared; `registration`: its statement contradicts what it has registered */
            cause: ("miner" | "registration") | null;
            /** @description What of the statement or the evidence contradicts the miner's registration */
            contradiction: string | null;
            /** @description 16 random bytes in hex, so that nobody can guess the words from their digest in the log; empty if there are none, or they were erased */
            salt: string;
            /** @description SHA-256 of the canonical JSON of `distances`, `limits`, `where`, `reason` and, unless it is empty, `salt`. Equals that in the log's leaf, unless the words were erased with the data of the job */
            comparisonSha256: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            decidedAt: string | null;
            /** @description Upper bound of the probability that an honest miner has so many failures; null until the audit is settled */
            probability: number | null;
            /** @description Whether the job's pay was forfeited and its failure lowers the miner's reputation */
            enforced: boolean;
            /** @description Money, a decimal string */
            forfeited: string;
            /** @description The audit to which this further opinion belongs */
            parent: string | null;
            /** @description Until when the miner's owner can ask for a second opinion; null if that is not possible */
            secondOpinionUntil: string | null;
        };
        AuditPage: {
            audits: components["schemas"]["Audit"][];
            next?: string;
        };
        AuditPrice: {
            percent: number;
            compares: string;
            auditors: number;
        };
        AuditStanding: {
            /** @enum {string} */
            role: "miner" | "auditor";
            service: string;
            model: string | null;
            /** @description Consecutive */
            passes: number;
            checked: number;
            failed: number;
            canariesChecked: number;
            canariesFailed: number;
            /** @description Audits that proved nothing, which count as neither checked nor failed; of an auditor, its opinions that prove nothing */
            unproven: number;
            /** @description Those of them that the miner itself has caused; of an auditor, those that two others refute */
            unprovenAtFault: number;
            /** @description Upper bound of the probability that an honest miner has so many failures */
            probability: number;
        };
        Batch: {
            batchId: string | null;
            /** @enum {string} */
            status: "draft" | "created" | "approved" | "sending" | "confirmed" | "failed" | "cancelled";
            adapter: string;
            currency: string;
            /** @description What one unit of the ledger's money is worth in the currency */
            rate: string;
            /**
             * @default down
             * @constant
             */
            rounding: "down";
            decimals: number;
            /** @description UTC, RFC 3339 */
            cutOff: string;
            /** @description Money, a decimal string */
            minimum: string;
            count: number;
            counts: {
                [key: string]: number;
            };
            /** @description Money, a decimal string */
            amount: string;
            note: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            createdBy?: string;
            /** @description UTC, RFC 3339 */
            approvedAt?: string;
            approvedBy?: string;
            cancelledBy?: string;
            /** @description UTC, RFC 3339 */
            finishedAt?: string;
            error?: string;
        };
        BatchDetails: {
            batchId: string | null;
            /** @enum {string} */
            status: "draft" | "created" | "approved" | "sending" | "confirmed" | "failed" | "cancelled";
            adapter: string;
            currency: string;
            /** @description What one unit of the ledger's money is worth in the currency */
            rate: string;
            /**
             * @default down
             * @constant
             */
            rounding: "down";
            decimals: number;
            /** @description UTC, RFC 3339 */
            cutOff: string;
            /** @description Money, a decimal string */
            minimum: string;
            count: number;
            counts: {
                [key: string]: number;
            };
            /** @description Money, a decimal string */
            amount: string;
            note: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            createdBy?: string;
            /** @description UTC, RFC 3339 */
            approvedAt?: string;
            approvedBy?: string;
            cancelledBy?: string;
            /** @description UTC, RFC 3339 */
            finishedAt?: string;
            error?: string;
            payouts: components["schemas"]["Payout"][];
            /** @description Amount in the batch's currency, a decimal string */
            sentAmount: string;
            manifest?: string;
            transfers?: components["schemas"]["PayoutTransfer"][];
            omitted?: components["schemas"]["OmittedMiner"][];
        };
        BatchPage: {
            batches: components["schemas"]["Batch"][];
            adapters: components["schemas"]["Adapter"][];
            next?: string;
        };
        Booked: {
            transactionId: string;
            accountId: string;
            /** @description Money, a decimal string */
            amount: string;
            /** @description Money, a decimal string */
            balance: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        BrowserSession: {
            sessionId: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
            /** @description The keys with which the session acts */
            keys: components["schemas"]["Key"][];
        };
        BrowserSessionList: {
            sessions: components["schemas"]["BrowserSession"][];
        };
        Canary: {
            canaryId: string;
            jobId: string;
            service: string;
            model: string | null;
            note: string;
            submitted: number;
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        CanaryList: {
            canaries: components["schemas"]["Canary"][];
        };
        ChangedSetting: {
            setting: string;
            before: string | null;
            after: string | null;
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
        Deposit: {
            source: string;
            externalId: string;
            accountId: string;
            /** @description Money, a decimal string */
            amount: string;
            externalAmount: string;
            /** @description Absent if the amount was in the ledger's money */
            currency?: string;
            rate: string;
            note?: string;
            transactionId: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        DepositPage: {
            deposits: components["schemas"]["Deposit"][];
            next?: string;
        };
        Earnings: {
            minerId: string;
            days: components["schemas"]["DayEarnings"][];
            /** @description Money, a decimal string */
            total: string;
            /** @description Money, a decimal string */
            available: string;
            /** @description Money, a decimal string */
            onHold: string;
            /** @description Money, a decimal string */
            pending: string;
            /** @description Money, a decimal string */
            paidOut: string;
        };
        EncryptionKeyAnswer: {
            minerId: string;
            keyId: string;
            /** @description X25519, base64 */
            publicKey: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
            /** @description The miner's Ed25519 key, from which its id derives, base64 */
            identityKey: string;
            /** @description DSSE, of the type `application/vnd.aitbc.encryption-key+json` */
            envelope: JsonObject;
            /** @description What the machine attests about itself and this key; null: nothing */
            attestation: JsonObject | null;
        };
        EnrolledMiner: {
            minerId: string;
            name: string;
        };
        Enrolment: {
            enrolmentId: string;
            /** @enum {string} */
            status: "valid" | "used" | "expired" | "revoked";
            note: string;
            /** @description Whose miners join with it; they form one fleet */
            owner: string | null;
            /** @description Number of miners that could join with it */
            uses: number;
            usesLeft: number;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            createdBy: string | null;
            createdByName: string | null;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
            /** @description When a miner last enrolled with it */
            usedAt: string | null;
            revokedAt: string | null;
            miners: components["schemas"]["EnrolledMiner"][];
        };
        EnrolmentPage: {
            enrolments: components["schemas"]["Enrolment"][];
            next?: string;
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
        Fleet: {
            owner: string | null;
            /** @description Number of machines that are online */
            online: number;
            gpus: number;
            slots: number;
            running: number;
            days: components["schemas"]["DayEarnings"][];
            /** @description Money, a decimal string */
            earnedToday: string;
            /** @description Money, a decimal string */
            totalEarned: string;
            miners: components["schemas"]["FleetMiner"][];
        };
        FleetMiner: {
            minerId: string;
            name: string;
            online: boolean;
            paused: string | null;
            gpus: string[];
            slots: number;
            /** @description Number of jobs that run now */
            running: number;
            /** @description Money, a decimal string */
            earnedToday: string;
            /** @description Money, a decimal string */
            totalEarned: string;
        };
        GivenCommand: {
            commandId: string;
            /** @enum {string} */
            command: "pause" | "resume" | "fetch_model" | "remove_model" | "change_settings";
            /** @description UTC, RFC 3339 */
            createdAt: string;
            givenBy: string;
            gpu: string | null;
            seconds: number | null;
            model: string | null;
            changes: components["schemas"]["ChangedSetting"][];
            executedAt: string | null;
            refusal: string[];
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
            /** @description UTC, RFC 3339 */
            checkedAt: string;
            logKey: string;
        };
        History: {
            metric: components["schemas"]["Metric"];
            period: components["schemas"]["Period"];
            intervalSeconds: number;
            points: components["schemas"]["HistoryPoint"][];
        };
        HistoryPoint: {
            /** @description UTC, RFC 3339 */
            time: string;
            figures: {
                [key: string]: number | string | null;
            };
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
        JobAudit: {
            auditId: string;
            /** @enum {string} */
            status: "waiting" | "running" | "decided";
            /** @enum {string} */
            verdict?: "pass" | "fail" | "unproven";
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
            /** @description Absent while no known miner can take the job */
            estimatedCompletion?: string;
            /** @description Present for a service call */
            serviceId?: string;
            /** @description Files that are still to be uploaded */
            missingFiles?: string[];
            results?: JsonObject;
            error?: components["schemas"]["JobError"];
        };
        JobDataDeleted: {
            jobId: string;
            /** @description UTC, RFC 3339 */
            deletedAt: string;
        };
        JobDetails: {
            jobId: string;
            /** @enum {string} */
            status: "submitted" | "running" | "completed" | "failed" | "cancelled";
            progress: number;
            /** @description The type as the request wrote it */
            type: string;
            serviceId: string;
            /** @description As given, or derived from its file or prompt */
            name: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description Number of runs that have begun */
            attempts: number;
            /** @description The highest number of runs */
            maxAttempts: number;
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
            /** @description The account that owns the job */
            accountId?: string;
            minerId?: string;
            offerId?: string;
            /** @description Amount paid for a job that has ended; the rest of its max_cost was refunded */
            cost?: string;
            /** @description Present for a failed job */
            error?: components["schemas"]["JobError"];
            /** @description Why the last run ended, while the job waits for the next one */
            lastFailure?: components["schemas"]["JobError"];
            /** @description Files that are still to be uploaded */
            missingFiles?: string[];
            /** @description Only in the one event that notifies a client that its job waits for long */
            waiting?: components["schemas"]["JobWaiting"];
            /** @description Present if there are any */
            labels?: {
                [key: string]: string;
            };
            /** @description Present if another miner checks the result */
            audit?: components["schemas"]["JobAudit"];
            /** @description Present for a sealed job, whose parameters only its miner can read */
            sealed?: components["schemas"]["SealedJob"];
            /** @description The service's input, without fields that have their default. Queries of addresses are left out: they may be secret */
            parameters: JsonObject;
            inputs: components["schemas"]["JobInput"][];
        };
        JobError: {
            code: string;
            message: string;
        };
        JobExplanation: {
            jobId: string;
            /** @enum {string} */
            status: "submitted" | "running" | "completed" | "failed" | "cancelled";
            /** @description One sentence for people */
            summary: string;
            /**
             * @description `now`: it runs or starts immediately; `later`: once the reasons end; `never`: not as it is on any known miner
             * @enum {string}
             */
            canRun: "now" | "later" | "never";
            reasons: components["schemas"]["JobReason"][];
            /** @description Position in the queue of the miners that can run it, 1 for the next; null: it is in no queue */
            position: number | null;
            /** @description Number of jobs that come first */
            ahead: number | null;
            /** @description Null without measured durations to derive it from */
            estimatedStart: string | null;
            /** @description Known miners, the one nearest to running the job first; at most 50 */
            miners: components["schemas"]["MinerReasons"][];
        };
        JobInput: {
            /** @description Where the input names it, with dots */
            field: string;
            /** @description Its file name, or else the field */
            name: string;
            artifactId?: string;
            url?: string;
            size?: number;
        };
        JobLog: {
            jobId: string;
            entries: components["schemas"]["JobLogEntry"][];
            truncated: boolean;
        };
        JobLogEntry: {
            /** @description UTC, RFC 3339 */
            time: string;
            attempt: number;
            source: string;
            text: string;
        };
        JobPage: {
            jobs: components["schemas"]["JobStatus"][];
            total: number;
            limit: number;
            offset: number;
        };
        JobReason: {
            code: components["schemas"]["ReasonCode"];
            message: string;
            /** @description Who can change it; `time`: it ends on its own */
            who: components["schemas"]["Who"];
            /** @description What to do */
            action: string;
            /** @description Figures for programs, which depend on the code (docs/reference/waiting.md) */
            details: JsonObject;
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
            /** @description The type as the request wrote it */
            type: string;
            serviceId: string;
            /** @description As given, or derived from its file or prompt */
            name: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description Number of runs that have begun */
            attempts: number;
            /** @description The highest number of runs */
            maxAttempts: number;
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
            /** @description The account that owns the job */
            accountId?: string;
            minerId?: string;
            offerId?: string;
            /** @description Amount paid for a job that has ended; the rest of its max_cost was refunded */
            cost?: string;
            /** @description Present for a failed job */
            error?: components["schemas"]["JobError"];
            /** @description Why the last run ended, while the job waits for the next one */
            lastFailure?: components["schemas"]["JobError"];
            /** @description Files that are still to be uploaded */
            missingFiles?: string[];
            /** @description Only in the one event that notifies a client that its job waits for long */
            waiting?: components["schemas"]["JobWaiting"];
            /** @description Present if there are any */
            labels?: {
                [key: string]: string;
            };
        };
        JobWaiting: {
            summary: string;
            /** @enum {string} */
            canRun: "now" | "later" | "never";
            reasons: components["schemas"]["JobReason"][];
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
        LabelCount: {
            key: string;
            value: string;
            jobs: number;
        };
        LabelCounts: {
            labels: components["schemas"]["LabelCount"][];
            more: boolean;
        };
        LoggedIn: {
            keys: components["schemas"]["GivenKey"][];
        };
        LoginLink: {
            token: string;
            /** @description Path on this server */
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
        MarketMiner: {
            minerId: string;
            name: string;
            available: boolean;
            online: boolean;
            /** @description UTC, RFC 3339 */
            seenAt: string;
            reputation: number;
            gpus: string[];
            services: components["schemas"]["OfferedService"][];
        };
        MarketMinerList: {
            miners: components["schemas"]["MarketMiner"][];
            total: number;
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
        /** @enum {string} */
        Metric: "jobs" | "queue" | "money" | "miners";
        MinerAudits: {
            audits: components["schemas"]["Audit"][];
            next?: string;
            proofs: components["schemas"]["AuditStanding"][];
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
            /** @description Why its version does not work with the coordinator's, and what to do; it gets no jobs then */
            versionProblem: string | null;
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
            /** @description Until then the miner gets no jobs, because it has handed back too many */
            throttledUntil: string | null;
        };
        MinerExplanation: {
            minerId: string;
            /** @description One sentence for people */
            summary: string;
            /** @description Of a long queue, the 2000 most urgent ones */
            waitingJobs: number;
            kinds: components["schemas"]["WaitingKind"][];
        };
        MinerFault: {
            jobId: string;
            /** @description UTC, RFC 3339 */
            time: string;
            code: string | null;
            message: string | null;
        };
        MinerPage: {
            miners: components["schemas"]["MinerDetails"][];
            total: number;
            limit: number;
            offset: number;
        };
        MinerPayouts: {
            /** @description Money, a decimal string */
            available: string;
            /** @description Money, a decimal string */
            onHold: string;
            /** @description Money, a decimal string */
            pending: string;
            /** @description Money, a decimal string */
            paidOut: string;
            minerId: string;
            payouts: components["schemas"]["Payout"][];
            next?: string;
        };
        MinerReasons: {
            minerId: string;
            name: string;
            reasons: components["schemas"]["ReasonCode"][];
        };
        MinerSettings: {
            minerId: string;
            locked: string | null;
            prices: components["schemas"]["ServicePrice"][];
            schedule: string[];
            engines: components["schemas"]["ServiceEngines"][];
            preferredEngines: string[];
            history: components["schemas"]["GivenCommand"][];
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
            /** @description UTC, RFC 3339 */
            registeredAt: string;
            session: number;
            agentVersion: string | null;
            /** @description Why its version does not work with the coordinator's, and what to do; it gets no jobs then */
            versionProblem: string | null;
            paused: string | null;
            /** @description When an operator excluded it */
            excludedAt: string | null;
            excludedReason: string | null;
            /** @description Until then the miner gets no jobs, because it has handed back too many */
            throttledUntil: string | null;
            services: string[];
            unavailable: {
                [key: string]: string[];
            };
            gpus: string[];
            slots: number;
            reputation: number;
            completedRuns: number;
            failedRuns: number;
            refusedResults: number;
            lastFault: components["schemas"]["MinerFault"] | null;
            /** @description Money, a decimal string */
            totalEarned: string;
        };
        ModelNeeds: {
            name: string;
            /** @enum {string} */
            kind: "model" | "adapter";
            vram: number;
            vramMin: number;
            memory: number;
        };
        ModelSupply: {
            /** @description Whether a miner would run a job now */
            available: boolean;
            /** @description Miners that are online and would run it */
            miners: number;
            price: string | null;
            unit: string | null;
            name: string;
            downloadable: boolean;
            typicalSeconds: number | null;
        };
        NewAccount: {
            accountId: string;
            name: string;
        };
        NewEnrolment: {
            enrolmentId: string;
            enrolmentToken: string;
            uses: number;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
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
        OfferedService: {
            serviceId: string;
            /** @description Money, a decimal string */
            price: string;
            unit: string;
            speed: components["schemas"]["ServiceScore"] | null;
            models: string[];
        };
        /** @enum {string} */
        Omitted: "no_address" | "excluded" | "new" | "on_hold" | "below_minimum" | "batch_full";
        OmittedMiner: {
            minerId: string;
            minerName?: string;
            /** @description Money, a decimal string */
            amount: string;
            reason: components["schemas"]["Omitted"];
        };
        Overview: {
            jobs: {
                [key: string]: number;
            };
            miners: components["schemas"]["MinerSummary"][];
            database: components["schemas"]["DatabaseNumbers"];
            replicas: components["schemas"]["Replica"][];
        };
        OwnBrowserSession: {
            sessionId: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            expiresAt: string;
            /** @description The keys with which the session acts */
            keys: components["schemas"]["Key"][];
            csrfToken: string;
        };
        OwnKeyList: {
            keys: components["schemas"]["Key"][];
            limit: number;
        };
        /** @enum {string} */
        PaymentState: "created" | "approved" | "prepared" | "sent" | "confirmed" | "failed" | "cancelled";
        Payout: {
            payoutId: string;
            batchId: string;
            minerId: string;
            minerName?: string;
            adapter: string;
            address: string;
            currency: string;
            /** @description Money, a decimal string */
            amount: string;
            /** @description Amount in the batch's currency, a decimal string */
            sentAmount: string;
            status: components["schemas"]["PaymentState"];
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            finishedAt?: string;
            reference?: string;
            reason?: string;
            waitingFor?: string;
        };
        PayoutAddress: {
            adapter: string;
            currency: string;
            address: string;
            sequence: number;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            /** @description UTC, RFC 3339 */
            effectiveAt: string;
        };
        PayoutAddresses: {
            minerId: string;
            address: components["schemas"]["PayoutAddress"] | null;
            pending: components["schemas"]["PayoutAddress"] | null;
            origin: string;
            delayHours: number;
            adapters: components["schemas"]["Adapter"][];
        };
        PayoutProof: {
            Type: string;
            payment: JsonObject;
            index: number;
            hashes: string[];
            manifest: string;
            proof: string;
        };
        PayoutTransfer: {
            transferId: string;
            /** @enum {string} */
            status: "prepared" | "sent" | "finished";
            reference: string;
            nonce?: number;
            attempts: number;
            /** @description UTC, RFC 3339 */
            sentAt?: string;
            /** @description UTC, RFC 3339 */
            nextCallAt?: string;
            error?: string;
        };
        /** @enum {string} */
        Period: "hour" | "day" | "week" | "month" | "year";
        Price: {
            /** @description Money, a decimal string */
            lowest: string;
            /** @description Money, a decimal string */
            typical: string;
        };
        QueuedCommand: {
            commandId: string;
            /** @enum {string} */
            command: "pause" | "resume" | "fetch_model" | "remove_model" | "change_settings";
            /** @description UTC, RFC 3339 */
            createdAt: string;
        };
        /** @enum {string} */
        ReasonCode: "FILES_MISSING" | "ACCOUNT_LIMIT" | "NO_MINERS" | "MINER_UNKNOWN" | "OFFER_ENDED" | "NO_AUDITOR" | "OFFER_FULL" | "NOT_CHOSEN" | "SERVICE_NOT_OFFERED" | "FEATURE_MISSING" | "MODEL_MISSING" | "MODEL_TOO_LARGE" | "NOT_ENOUGH_CPU" | "NOT_ENOUGH_MEMORY" | "NOT_ENOUGH_GPUS" | "PRICE_ABOVE_MAX_COST" | "ESTIMATE_ABOVE_MAX_COST" | "MINER_EXCLUDED" | "REPUTATION_TOO_LOW" | "NOT_AN_AUDITOR" | "MINER_OFFLINE" | "MINER_PAUSED" | "MINER_ASLEEP" | "MINER_SUSPENDED" | "SERVICE_PAUSED" | "MODEL_UNAVAILABLE" | "FAILED_THERE" | "MINER_BUSY" | "QUEUED";
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
            /** @description Number of valid attestations */
            coordinatorAttestations: number;
            /** @description UTC, RFC 3339 */
            verifiedAt: string;
            failures: string[];
        };
        Removal: {
            minerId: string;
            /** @description UTC, RFC 3339 */
            removedAt: string;
            requeuedJobs: number;
            endedOffers: number;
        };
        Replica: {
            slot: number;
            host: string;
            version: string;
            /** @description UTC, RFC 3339 */
            joinedAt: string;
            leads: boolean;
        };
        /** @enum {string} */
        Role: "client" | "miner" | "admin";
        SealedJob: {
            version: number;
            /** @description The miner's key */
            keyId: string;
            requestId: string;
            /** @description The client's X25519 key, base64 */
            replyKey: string;
            model: string | null;
            adapters: string[];
        };
        ServiceDetails: {
            serviceId: string;
            name: string;
            category: string;
            description: string;
            tags: string[];
            unit: string;
            cpuUnit: string;
            determinism: string;
            /** @description The finished work that another miner does not repeat when it takes over a job; null: the job starts again */
            resumes: string | null;
            /** @description The path of its service call */
            route: string | null;
            requirements: components["schemas"]["Hardware"];
            /** @description Miners that offer it now; at most a few seconds old */
            minersOnline: number;
            /** @description Null while no miner is online */
            price: components["schemas"]["Price"] | null;
            /** @description Null while no miner that is online has run the benchmark */
            speed: components["schemas"]["Speed"] | null;
            /** @description One for each model that has been measured */
            durations: components["schemas"]["TypicalDuration"][];
            /** @description Null if results of the service cannot be compared */
            audit: components["schemas"]["AuditPrice"] | null;
            models: string[];
            ready: string[];
            adapters: string[];
            /** @description JSON Schema of the results */
            outputSchema: JsonObject;
        };
        ServiceEngines: {
            serviceId: string;
            engines: (string | null)[];
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
        ServicePrice: {
            serviceId: string;
            unit: string | null;
            /** @description Money, a decimal string */
            unitPrice: string;
            setting: string | null;
            /** @description Money, a decimal string */
            default: string;
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
            /** @description The finished work that another miner does not repeat when it takes over a job; null: the job starts again */
            resumes: string | null;
            /** @description The path of its service call */
            route: string | null;
            requirements: components["schemas"]["Hardware"];
            /** @description Miners that offer it now; at most a few seconds old */
            minersOnline: number;
            /** @description Null while no miner is online */
            price: components["schemas"]["Price"] | null;
            /** @description Null while no miner that is online has run the benchmark */
            speed: components["schemas"]["Speed"] | null;
            /** @description One for each model that has been measured */
            durations: components["schemas"]["TypicalDuration"][];
            /** @description Null if results of the service cannot be compared */
            audit: components["schemas"]["AuditPrice"] | null;
        };
        ServiceSupply: {
            /** @description Whether a miner would run a job now */
            available: boolean;
            /** @description Miners that are online and would run it */
            miners: number;
            price: string | null;
            unit: string | null;
            serviceId: string;
            name: string;
            speed: components["schemas"]["Speed"] | null;
            /** @description Measured duration of a run, for a service without models */
            typicalSeconds: number | null;
            models: components["schemas"]["ModelSupply"][];
        };
        ServiceSupplyList: {
            services: components["schemas"]["ServiceSupply"][];
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
            type: "credit" | "debit" | "payment" | "payout" | "funding" | "audit" | "refund" | "forfeit";
            /** @enum {string} */
            status: "pending" | "settled" | "refunded";
            /** @description Money, a decimal string */
            amount: string;
            /** @description UTC, RFC 3339 */
            createdAt: string;
            jobId?: string;
            /** @description For the job's account and administrators only */
            jobName?: string;
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
            command: "pause" | "resume" | "fetch_model" | "remove_model" | "change_settings";
            /** @description UTC, RFC 3339 */
            createdAt: string;
            gpu: string | null;
            seconds: number | null;
            model: string | null;
        };
        WaitingKind: {
            serviceId: string;
            model: string | null;
            jobs: number;
            /** @description `action` is what the miner's owner can do */
            reasons: components["schemas"]["JobReason"][];
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
            /** @description Money, a decimal string */
            available?: string;
            /** @description Money, a decimal string */
            onHold?: string;
            /** @description Money, a decimal string */
            pending?: string;
            /** @description Money, a decimal string */
            paidOut?: string;
            /** @description Until then few of its jobs run at a time (`coordinator.slowed_jobs`), because too many failed through their own errors */
            slowedUntil?: string;
        };
        /** @enum {string} */
        Who: "client" | "owner" | "operator" | "time";
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}

/** An account, which owns jobs, artifacts and money. */
export type Account = components["schemas"]["Account"];

/** Accounts, oldest first. If there are more, `next` is the value of `after` for the next page. */
export type AccountPage = components["schemas"]["AccountPage"];

/** An adapter of the settings. `fault` is why it cannot be used. With `byHand`, administrators report the outcomes. */
export type Adapter = components["schemas"]["Adapter"];

/** A stored artifact; `size` is in bytes. */
export type Artifact = components["schemas"]["Artifact"];

/** A signed link, relative to the API's address, and its expiry. */
export type ArtifactLink = components["schemas"]["ArtifactLink"];

/** A statement about a run that the coordinator signs. */
export type Attestation = components["schemas"]["Attestation"];

/** What one auditor is asked about a result, and what it found. Without a `parent` it begins an audit, whose decision is `verdict`. */
export type Audit = components["schemas"]["Audit"];

/** Opinions, newest first. If there are more, `next` is the value of `before` for the next page. */
export type AuditPage = components["schemas"]["AuditPage"];

/** What a job with `audited` costs in addition, in percent of its price. `auditors` are online miners that check work of the service. */
export type AuditPrice = components["schemas"]["AuditPrice"];

/** What audits have shown of a miner in a service and model. `share` of its jobs there is audited. */
export type AuditStanding = components["schemas"]["AuditStanding"];

/**
 * A batch of payouts without its payments. A draft has no `batchId`. `counts` are its payments by status.
 *
 * `cutOff` is the time up to which earnings were counted. `createdBy` and `approvedBy` are keys. `error` is why the adapter could
 * not prepare its payments; that is repeated.
 */
export type Batch = components["schemas"]["Batch"];

/** A batch with its payments, its transfers, its manifest as in the log, and, for a draft, the miners that it omits. */
export type BatchDetails = components["schemas"]["BatchDetails"];

/** Batches, newest first, and the adapters. If there are more batches, `next` is the value of `before` for the next page. */
export type BatchPage = components["schemas"]["BatchPage"];

/** A credit or a debit, and the account's balance after it. */
export type Booked = components["schemas"]["Booked"];

/** A session, its keys without their secrets, and its expiry. */
export type BrowserSession = components["schemas"]["BrowserSession"];

/** Sessions, oldest first. */
export type BrowserSessionList = components["schemas"]["BrowserSessionList"];

/** A job with a known answer. `jobId` is the job that gave the answer; `submitted` counts its submissions since then. */
export type Canary = components["schemas"]["Canary"];

/** All canaries, newest first. */
export type CanaryList = components["schemas"]["CanaryList"];

/** A setting that a command changes, as written in the settings file; null values stand for the default. */
export type ChangedSetting = components["schemas"]["ChangedSetting"];

/** The number of commits since the coordinator's start, and the number of writes that shared them. */
export type DatabaseNumbers = components["schemas"]["DatabaseNumbers"];

/** The earnings of one UTC day, and the number of jobs. */
export type DayEarnings = components["schemas"]["DayEarnings"];

/** A payment that arrived outside, and the credit that followed. `externalAmount`, in `currency`, is `rate` times `amount`. */
export type Deposit = components["schemas"]["Deposit"];

/** Deposits, newest first. If there are more, `next` is the value of `before` for the next page. */
export type DepositPage = components["schemas"]["DepositPage"];

/** Earnings by day, newest last, and their sum. The other amounts are of all days: what can be paid out now, is on hold, is in payouts that have not ended, and has arrived. */
export type Earnings = components["schemas"]["Earnings"];

/** A miner's newest key for sealed jobs. Only `envelope`, which the miner's identity key signs, is proof; the rest are copies. */
export type EncryptionKeyAnswer = components["schemas"]["EncryptionKeyAnswer"];

/** A miner that has enrolled with a token. */
export type EnrolledMiner = components["schemas"]["EnrolledMiner"];

/**
 * An enrolment token without its secret.
 *
 * `createdBy` is the administrator's key that created it, null if the agent did for its own miner; `miners` enrolled with it last.
 */
export type Enrolment = components["schemas"]["Enrolment"];

/** Enrolment tokens, newest first. If there are more, `next` is the value of `before` for the next page. */
export type EnrolmentPage = components["schemas"]["EnrolmentPage"];

/** The miner's signed statement, a DSSE envelope. */
export type Envelope = components["schemas"]["Envelope"];

/** The only signature of an envelope; `keyid` is empty. */
export type EnvelopeSignature = components["schemas"]["EnvelopeSignature"];

/** An excluded miner, and the number of its jobs that were queued again. */
export type Exclusion = components["schemas"]["Exclusion"];

/**
 * All machines of one owner, the newest first, and their sums. `days` are their earnings together, today's last.
 *
 * `owner` is the name that their enrolment tokens have; null for a machine on its own, and for administrators, who get all machines.
 */
export type Fleet = components["schemas"]["Fleet"];

/** One machine of a fleet. `paused` is the reason for accepting no jobs, `gpus` are the names of its GPUs. */
export type FleetMiner = components["schemas"]["FleetMiner"];

/**
 * A command of the miner's history. `givenBy` is the role and the name of the key that gave it.
 *
 * `executedAt` is null while it waits; `refusal` has the reasons if the miner refused it.
 */
export type GivenCommand = components["schemas"]["GivenCommand"];

/** A new key for the dashboard, with its secret. */
export type GivenKey = components["schemas"]["GivenKey"];

/** What a machine needs to offer a service. Sizes are in bytes; `gpu` is whether a GPU is needed, used if present, or never used. */
export type Hardware = components["schemas"]["Hardware"];

/** The health of the coordinator. `checkedAt` is when the database was last known to answer, or not to; `logKey` verifies receipts. */
export type Health = components["schemas"]["Health"];

/** Figures over time. Points are `intervalSeconds` apart, each at the beginning of its interval. */
export type History = components["schemas"]["History"];

/** The figures of one interval by name: numbers, or money as decimal strings; null if nothing was measured. */
export type HistoryPoint = components["schemas"]["HistoryPoint"];

/** A share of the last hour, and its reason: `working`, or why the miner was idle. */
export type IdleShare = components["schemas"]["IdleShare"];

/** A miner that may register again. */
export type Inclusion = components["schemas"]["Inclusion"];

/** A JSON Schema, draft 2020-12. */
export type InputSchema = components["schemas"]["InputSchema"];

/** The audit of a job, of which `GET /v1/jobs/{job_id}/audit` has the whole. */
export type JobAudit = components["schemas"]["JobAudit"];

/** A cancelled job. */
export type JobCancelled = components["schemas"]["JobCancelled"];

/** A new job. With `Prefer: wait=N` it may already have ended, and then has `results` or an `error`. */
export type JobCreated = components["schemas"]["JobCreated"];

/** A job whose data was deleted. Its receipt and its payment remain. */
export type JobDataDeleted = components["schemas"]["JobDataDeleted"];

/** A job with what it was asked to do. Fields that do not apply are omitted. */
export type JobDetails = components["schemas"]["JobDetails"];

/** Why a job failed. */
export type JobError = components["schemas"]["JobError"];

/** Why a job does not run, or that it runs or has ended. The most important reason is the first. */
export type JobExplanation = components["schemas"]["JobExplanation"];

/**
 * A file that a job reads: an artifact, a text in the request, or an address, of which the query is left out.
 *
 * `size` is in bytes; an address has none, and neither has an artifact that was deleted.
 */
export type JobInput = components["schemas"]["JobInput"];

/** What the runs of a job wrote, oldest first. `truncated`: the log was longer, and lines are missing. */
export type JobLog = components["schemas"]["JobLog"];

/** One line that a run wrote. `source` is the program or stream; `attempt` counts the job's runs from 1. */
export type JobLogEntry = components["schemas"]["JobLogEntry"];

/** Jobs, newest first, and their total number. */
export type JobPage = components["schemas"]["JobPage"];

/** A reason why a job does not run: what and by how much, who can change it, and how. */
export type JobReason = components["schemas"]["JobReason"];

/** The results of a completed job. Their form is defined by the job's service. */
export type JobResults = components["schemas"]["JobResults"];

/** The state of a job. The last three are final. */
export type JobState = components["schemas"]["JobState"];

/** A job. Fields that do not apply are omitted. */
export type JobStatus = components["schemas"]["JobStatus"];

/** The notice that a job waits for long, and why. */
export type JobWaiting = components["schemas"]["JobWaiting"];

export type JsonValue = components["schemas"]["JsonValue"];

/** A key without its secret. Fields that do not apply are omitted. */
export type Key = components["schemas"]["Key"];

/** All keys, including revoked ones. */
export type KeyList = components["schemas"]["KeyList"];

/** A label and the number of jobs that have it. */
export type LabelCount = components["schemas"]["LabelCount"];

/** The labels of jobs, those of most jobs first. `more`: there are further ones beyond the limit. */
export type LabelCounts = components["schemas"]["LabelCounts"];

/** The keys that a login link yields, one for each role. */
export type LoggedIn = components["schemas"]["LoggedIn"];

/** A new login link, which can be used once. */
export type LoginLink = components["schemas"]["LoginLink"];

/** The download of a model, in bytes; `total` is null while unknown. */
export type MachineDownload = components["schemas"]["MachineDownload"];

/**
 * A GPU. Memory is in bytes, utilization in percent, temperature in degrees Celsius, power in watts; null if unknown.
 *
 * `paused` is the reason for which it accepts no jobs.
 */
export type MachineGpu = components["schemas"]["MachineGpu"];

/** A job that runs on the miner. */
export type MachineJob = components["schemas"]["MachineJob"];

/** A service that the miner offers, with the models on its disk, those that are loaded, and those that are unavailable. */
export type MachineService = components["schemas"]["MachineService"];

/** A miner as clients see it. It accepts jobs while it is `available`: online, and not paused. */
export type MarketMiner = components["schemas"]["MarketMiner"];

/** Miners: first those that are available, then by the time at which they were last seen; and their total number. */
export type MarketMinerList = components["schemas"]["MarketMinerList"];

/** Statistics of the whole market. `averageCompletionTime` is the seconds from a job's assignment to its result. */
export type MarketStats = components["schemas"]["MarketStats"];

/** What a history is about. */
export type Metric = components["schemas"]["Metric"];

/** A miner's decided audits, and what they have shown so far. */
export type MinerAudits = components["schemas"]["MinerAudits"];

/**
 * A machine. Sizes are in bytes; `paused` is the reason for accepting no jobs; `unavailable` has the reasons by service not offered.
 *
 * `sandbox` isolates programs that read clients' files: bubblewrap, landlock or none; null if none works or the agent is too old to
 * report it. `idle` are shares of the last hour that sum to 1; empty if the agent is too old to report them.
 */
export type MinerDetails = components["schemas"]["MinerDetails"];

/** Why a miner does not get the jobs that wait, by kind of job. */
export type MinerExplanation = components["schemas"]["MinerExplanation"];

/** The last run that its miner did not finish, whether or not it lowers the reputation. `code` and `message` are null if its lease expired. */
export type MinerFault = components["schemas"]["MinerFault"];

/** Miners, newest first, and their total number. */
export type MinerPage = components["schemas"]["MinerPage"];

/** A miner's payments, newest first. If there are more, `next` is the value of `before` for the next page. */
export type MinerPayouts = components["schemas"]["MinerPayouts"];

/** The reasons of one miner. Without any, it can run the job now. */
export type MinerReasons = components["schemas"]["MinerReasons"];

/**
 * The settings of a miner that can be changed from here, and its newest commands.
 *
 * `locked` is the reason if none can be changed. `schedule` are the times of the week, by the machine's clock, at which it accepts
 * no jobs.
 */
export type MinerSettings = components["schemas"]["MinerSettings"];

/**
 * A miner's record. `totalJobs` counts its results and the runs that failed through its own fault (docs/explanation/reputation.md).
 *
 * `clientFailures` counts the runs that, according to the miner, failed through their clients' fault.
 */
export type MinerStats = components["schemas"]["MinerStats"];

/**
 * A miner. `paused` is the reason for accepting no jobs; `unavailable` has the reasons by service not offered.
 *
 * `failedRuns` counts runs that failed by the miner's fault, `refusedResults` invalid statements.
 */
export type MinerSummary = components["schemas"]["MinerSummary"];

/** What a model needs, in bytes: VRAM for full speed and at least, and memory on a machine without a GPU. */
export type ModelNeeds = components["schemas"]["ModelNeeds"];

/**
 * A model that jobs may name. `typicalSeconds` is the measured duration of a run; null before the first ones.
 *
 * A miner that is online would download a `downloadable` model before it runs the first job.
 */
export type ModelSupply = components["schemas"]["ModelSupply"];

/** A new account. */
export type NewAccount = components["schemas"]["NewAccount"];

/** A new enrolment token. */
export type NewEnrolment = components["schemas"]["NewEnrolment"];

/** A new key, with its secret. */
export type NewKey = components["schemas"]["NewKey"];

/**
 * A miner's price for each metered unit of jobs of a type or name.
 *
 * A `standing` offer follows from the miner's configured prices and has neither `maxJobs` nor an expiry.
 */
export type Offer = components["schemas"]["Offer"];

/** The payment of a job that was given to an offer, pending until the job ends. `price` is the price of a unit. */
export type OfferAccepted = components["schemas"]["OfferAccepted"];

/** An offer that accepts no more jobs. */
export type OfferEnded = components["schemas"]["OfferEnded"];

/** Offers. If there are more of your own, `next` is the value of `before` for the next page. */
export type OfferPage = components["schemas"]["OfferPage"];

/** The minimum that the offer's machine has: memory of its largest GPU, and CPU. */
export type OfferRequirements = components["schemas"]["OfferRequirements"];

/** A service that a miner offers, with the models that it can run without a download. */
export type OfferedService = components["schemas"]["OfferedService"];

/** Why a miner that has earned money is not part of a batch. */
export type Omitted = components["schemas"]["Omitted"];

/** A miner that has earned money but is not part of the batch, what could be paid to it, and why it is not. */
export type OmittedMiner = components["schemas"]["OmittedMiner"];

/** The number of jobs in each state, all miners, the database's writes, and the coordinators that use the database. */
export type Overview = components["schemas"]["Overview"];

/** The caller's session, and the token that its requests must send as `X-CSRF-Token` to change something. */
export type OwnBrowserSession = components["schemas"]["OwnBrowserSession"];

/** The valid keys of the caller's account, oldest first, and their maximum number. */
export type OwnKeyList = components["schemas"]["OwnKeyList"];

/** The state of a payment. */
export type PaymentState = components["schemas"]["PaymentState"];

/**
 * A payment of a batch. `reason` is why it failed, `waitingFor` what its miner still has to hand in.
 *
 * `reference` is what identifies it outside: a transaction's hash, or a bank's reference.
 */
export type Payout = components["schemas"]["Payout"];

/** An address, and when it took or takes effect. `sequence` is the number of the statement that names it. */
export type PayoutAddress = components["schemas"]["PayoutAddress"];

/**
 * The address in force, and the change that has not taken effect yet. A miner without an address is not paid.
 *
 * `origin` is what a statement must name; `delayHours` is how long a change waits; `adapters` can be chosen.
 */
export type PayoutAddresses = components["schemas"]["PayoutAddresses"];

/**
 * A payment, its path to the root in its batch's manifest, and the proof that the log includes the manifest.
 *
 * `aitbc-agent payouts verify` and both SDKs verify it offline.
 */
export type PayoutProof = components["schemas"]["PayoutProof"];

/** What the adapter sends together. `error` is why the last call failed; it is repeated at `nextCallAt`. */
export type PayoutTransfer = components["schemas"]["PayoutTransfer"];

/** The time that a history covers, until now. */
export type Period = components["schemas"]["Period"];

/** The lowest and the median price that miners ask for a unit. */
export type Price = components["schemas"]["Price"];

/** A command that is sent to the miner until it has executed it. */
export type QueuedCommand = components["schemas"]["QueuedCommand"];

/**
 * The codes of reasons. A `lasting` one holds until somebody changes the job, a miner or a price; others end on their own.
 *
 * `who` can change it. `meaning` is for people.
 */
export type ReasonCode = components["schemas"]["ReasonCode"];

/** The miner's signed statement with the coordinator's attestations. */
export type Receipt = components["schemas"]["Receipt"];

/** The result of a verification; `failures` names each part that is not valid. */
export type ReceiptVerification = components["schemas"]["ReceiptVerification"];

/** A removed miner, and the numbers of its jobs that were queued again and of its offers that ended. */
export type Removal = components["schemas"]["Removal"];

/** A running coordinator. One of them leads: it alone matches jobs with miners, and does the upkeep. */
export type Replica = components["schemas"]["Replica"];

/** The role of a key. */
export type Role = components["schemas"]["Role"];

/** The part of a sealed job that is in clear, with which its client finds the key for the answer. */
export type SealedJob = components["schemas"]["SealedJob"];

/**
 * A service in full. `models` and `adapters` are the names that a request may use.
 *
 * `ready` are those that a miner which is online has on disk; it is at most a few seconds old. A job with another model waits until a
 * miner has fetched it.
 */
export type ServiceDetails = components["schemas"]["ServiceDetails"];

/** The engines that can serve a service, the one in use first. Null stands for the agent's own environment. */
export type ServiceEngines = components["schemas"]["ServiceEngines"];

/** Services, and their number. */
export type ServiceList = components["schemas"]["ServiceList"];

/** What a service needs, and what each of its models in the catalogue needs. */
export type ServiceNeeds = components["schemas"]["ServiceNeeds"];

/** The price of a unit of a service: the current one, the setting, and the default, which applies without a setting. */
export type ServicePrice = components["schemas"]["ServicePrice"];

/** The miner's score in its own benchmark. */
export type ServiceScore = components["schemas"]["ServiceScore"];

/** A service. It is metered in `unit`, or in `cpuUnit` on machines without a GPU; `determinism` states how two results compare. */
export type ServiceSummary = components["schemas"]["ServiceSummary"];

/** A service and its models. `speed` is that of the miners' benchmarks; null while no miner that is online has run one. */
export type ServiceSupply = components["schemas"]["ServiceSupply"];

/** All services, in the order of their ids. */
export type ServiceSupplyList = components["schemas"]["ServiceSupplyList"];

/** The miner's signature and public key, in base64. */
export type Signature = components["schemas"]["Signature"];

/** The best and the median score of the miners' own benchmarks. */
export type Speed = components["schemas"]["Speed"];

/**
 * A change of a balance. The payment of a job is `held` on submission; then `amount` (including `fee`) is paid and the rest is `refunded`.
 *
 * `audit` is the price of an audit that the client requested, `refund` the same back if there was no auditor. `forfeit` is the price of
 * a job whose result was proven wrong, back from the miner. `funding` is money of the operator for its own audits.
 * A payout is `held` when its batch is created; then it is paid, or `refunded` to the miner.
 */
export type Transaction = components["schemas"]["Transaction"];

/** Transactions, newest first. If there are more, `next` is the value of `before` for the next page. */
export type TransactionPage = components["schemas"]["TransactionPage"];

/** Typical seconds of a run with a model; `model` is null for a service without models. */
export type TypicalDuration = components["schemas"]["TypicalDuration"];

/** `errors` are the reasons for which the request would be refused; `warnings` do not prevent it. */
export type Validation = components["schemas"]["Validation"];

/** An error or a warning about a field. `field` is a dotted path in `request_data`, or `serviceId`. */
export type ValidationProblem = components["schemas"]["ValidationProblem"];

/** A command that the miner has not executed yet. Fields that do not apply are null. */
export type WaitingCommand = components["schemas"]["WaitingCommand"];

/** Waiting jobs of one service and model that a miner does not get for the same reasons. Without any, it can run them now. */
export type WaitingKind = components["schemas"]["WaitingKind"];

/**
 * Amounts as decimal strings. `balance` can be spent (a miner's was earned); `held` is in escrow for unfinished jobs.
 *
 * A miner's balance is `available` for a payout, or `onHold` because it was earned too recently; `pending` is in payouts that have not
 * ended, and `paidOut` has arrived. For administrators, `balance` is the operator's fees and `issued` is the sum of all credits less
 * debits and payouts.
 */
export type Wallet = components["schemas"]["Wallet"];

/** Who can remove a reason. `TIME`: it ends on its own. */
export type Who = components["schemas"]["Who"];
