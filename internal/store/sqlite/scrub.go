package sqlite

import (
	"context"
	"errors"
	"fmt"
)

// errRead says that a reader still needs what was.
var errRead = errors.New("sqlite: somebody still reads what was there before")

// Scrub moves all that was committed from the write-ahead log into the database
// file and empties the log, which holds pages as they were. The file itself holds
// nothing that was removed: secure_delete overwrites it with zeros when it goes.
//
// It waits for readers for a moment only, since nobody writes meanwhile.
func (s *Store) Scrub(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case s.writer.scrubs <- done:
	case <-s.writer.dead:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("sqlite: scrub: %w", ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-s.writer.dead:
		select {
		case err := <-done: // given just before the writer ended
			return err
		default:
			return ErrClosed
		}
	}
}

// scrub runs between two batches.
func (w *writer) scrub() error {
	if err := w.session.command(`PRAGMA busy_timeout = 100`); err != nil {
		return fmt.Errorf("sqlite: scrub: %w", err)
	}
	var busy, pages, moved int
	t := &transaction{session: w.session}
	err := t.Row(background(), `PRAGMA wal_checkpoint(TRUNCATE)`, nil, &busy, &pages, &moved)
	if back := w.session.command(busyTimeout); err == nil {
		err = back
	}
	if err == nil && busy != 0 {
		err = errRead
	}
	return err
}
