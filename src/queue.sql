-- queue.sql: how far the queue is drained

CREATE TABLE meter.queue_position (
	epoch bigint NOT NULL,
	position bigint NOT NULL,
	moved_at timestamptz NOT NULL,
	PRIMARY KEY (epoch)
);
COMMENT ON TABLE meter.queue_position IS
'How far the queue of events is drained, in each epoch, that is the time from one opening of the queue''s file to the next. Written in the transaction that appends the events, so that none is lost or appended twice whenever the server dies. Rows are never removed: a standby or a copy of the data directory may still have a file with events of an old epoch';
COMMENT ON COLUMN meter.queue_position.epoch IS 'a random number';
COMMENT ON COLUMN meter.queue_position.position IS
'events of the epoch that end at this byte or before are in the log';
COMMENT ON COLUMN meter.queue_position.moved_at IS 'when the position was last moved';
