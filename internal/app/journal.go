package app

import (
	"context"
	"fmt"
	"path/filepath"

	"tandem/internal/backlog"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/callflow"
	"tandem/internal/voice/sipua"
)

// journalRoom bounds what waits in the data folder for the database: entries of some
// 50,000 calls with their ladders.
const journalRoom = 512 << 20

// openJournal starts the journal, which begins with what the last run could not write.
func (a *App) openJournal() error {
	states, err := a.box("states of calls")
	if err != nil {
		return err
	}
	entries, err := a.box("entries of the journal")
	if err != nil {
		return err
	}
	erased, err := a.key(tokensKey)
	if err != nil {
		return err
	}
	a.spool, err = backlog.Open(backlog.Options{Dir: filepath.Join(a.o.Config.DataDir, journalFolder), Box: entries, Max: journalRoom, Log: a.log})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	a.onStop(func(context.Context) error { return a.spool.Close() })
	a.ladders = sipua.NewLadders(func(id masking.CallID) { a.journal.Seen(id) })
	a.journal = callflow.NewJournal(callflow.JournalOptions{Store: a.store, Spool: a.spool, Clock: a.o.Clock, Log: a.log, Node: a.node,
		Seal: states, Ladders: a.ladders, Digest: func(t masking.TenantID, n e164.Number) [32]byte { return masking.ErasedDigest(erased, t, n) }})
	a.onStop(a.journal.Close)
	return nil
}

// catchUp waits until what the last run could not write is written: by that it is
// judged which calls go on.
func (a *App) catchUp(ctx context.Context) error {
	if n := a.journal.Spooled(); n > 0 {
		a.log.Warn("the last run could not write all of its call records", "entries", n)
	}
	select {
	case <-a.journal.Caught():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
