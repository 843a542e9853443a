-- The providers for which a send had its body cut, as a JSON array of their numbers; '' for none. A repeat is told it.
ALTER TABLE notifications ADD COLUMN shortened TEXT NOT NULL DEFAULT '';

-- Apple's tokens are hexadecimal, in either case the same: from here on lower case, at Apple and behind a hub. Where both
-- were registered the later one has the token, as if it had been one from the start.
CREATE TEMP TABLE of_apple AS
    SELECT key, row_number() OVER (
        PARTITION BY app, provider, environment, lower(token) ORDER BY registered_us DESC, key DESC
    ) AS place
    FROM devices WHERE token <> '' AND (provider = 1 OR (provider = 6 AND address = ' 1  '));
UPDATE devices SET token = '', state = 4, updated_us = CAST(strftime('%s', 'now') AS INTEGER) * 1000000
    WHERE key IN (SELECT key FROM of_apple WHERE place > 1);
UPDATE devices SET token = lower(token)
    WHERE key IN (SELECT key FROM of_apple WHERE place = 1) AND token <> lower(token);
DROP TABLE of_apple;
UPDATE deliveries SET token = lower(token) WHERE token <> lower(token) AND (
    (address = '' AND lane IN (SELECT key FROM lanes WHERE provider = 1))
    OR (address = ' 1  ' AND lane IN (SELECT key FROM lanes WHERE provider = 6))
);
