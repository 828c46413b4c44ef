CREATE TABLE task_events (
    kind STRING,
    host STRING,
    boot_id STRING,
    cpu INT,
    seq BIGINT,
    flags BIGINT,
    boot_ns BIGINT,
    wall_ns BIGINT,
    -- The end of the event's interval of five seconds of CLOCK_BOOTTIME, by the wall clock.
    interval_end AS TO_TIMESTAMP_LTZ(
        (wall_ns - MOD(boot_ns, 5000000000) + 5000000000) / 1000000, 3),
    WATERMARK FOR interval_end AS interval_end - INTERVAL '30' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = '${TOPIC}',
    'properties.bootstrap.servers' = '${BOOTSTRAP}',
    'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = '${BOUNDED}',
    'format' = 'json'
);

-- system.process_thread, documented formulas. A copy of an event has the same (cpu, seq).
SELECT
    host,
    boot_id,
    boot_ns / 5000000000 * 5 AS start_s,
    COUNT(DISTINCT CONCAT_WS('/', CAST(cpu AS STRING), CAST(seq AS STRING)))
        FILTER (WHERE MOD(flags, 2) = 0) / CAST(5 AS DOUBLE) AS process,
    COUNT(DISTINCT CONCAT_WS('/', CAST(cpu AS STRING), CAST(seq AS STRING)))
        FILTER (WHERE MOD(flags, 2) = 1) / CAST(5 AS DOUBLE) AS thread
FROM TABLE(TUMBLE(TABLE task_events, DESCRIPTOR(interval_end), INTERVAL '1' SECOND))
WHERE kind = 'fork'
GROUP BY window_start, window_end, host, boot_id, boot_ns / 5000000000;
