package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Options say what is copied where. From, To and Clock are required. Both databases
// have the same schema version.
type Options struct {
	From, To store.Store
	Clock    func() time.Time

	// Backup makes a backup of To, of a database that may be in use. A copy of any other
	// kind is of a database that nobody uses, or of a backup.
	Backup bool
	// Replace removes what To has, and what an earlier run has copied.
	Replace bool
	// Progress is told how far a table is, with each batch; nil = nobody.
	Progress func(Progress)
}

// Progress is how far a table is.
type Progress struct {
	Table       string
	Done, Total int64 // rows
}

// ErrNotEmpty refuses a target that has something and is not to be replaced.
var ErrNotEmpty = errors.New("it is not empty")

// Report is what was copied.
type Report struct {
	Begun   bool // the target is one that is being filled, if not more
	Resumed bool // what an earlier run has copied was not copied again
	Rows    int64
	Tables  []Progress
}

// A transaction writes at most rowsAtOnce rows, of some bytesAtOnce together: rows have
// from a few bytes to a minute of sound.
const (
	rowsAtOnce  = 2000
	fewRows     = 32
	bytesAtOnce = 4 << 20
)

// states is the table with what it takes to go on with a call. A backup has none of it:
// whoever serves from one, and be it for a rehearsal, must not reach for calls that are
// another's by then.
const states = "call_state"

// suited is how many rows shall be written at once after these.
func suited(rows []store.Row) int {
	bytes := 1
	for _, row := range rows {
		for _, v := range row {
			switch v := v.(type) {
			case string:
				bytes += len(v)
			case []byte:
				bytes += len(v)
			default:
				bytes += 8
			}
		}
	}
	return min(max(1, len(rows)*bytesAtOnce/bytes), 4*len(rows), rowsAtOnce)
}

// Copy copies a database whole: rows, the places of events, the chain of the audit log.
//
// What is read is one moment's. Whenever it ends before its time, another run goes on
// where it was, as long as the source is as it was; else it begins anew, as it does where
// the target had come to something else than the source. Until it is
// finished no server starts on the target. It refuses a target that has something,
// unless that comes from an earlier run or is to be replaced, and databases in use (Idle).
//
// The target knows the source's nodes: whoever serves from it closes the calls of those
// that do not come back.
func Copy(ctx context.Context, o Options) (Report, error) {
	c := &copier{Options: o}
	ctx = store.Long(ctx)
	if err := c.watch(ctx); err != nil {
		return c.report, err
	}
	if err := o.From.View(ctx, c.copyAll); err != nil {
		return c.report, err
	}
	return c.report, c.finish(ctx)
}

// copier is one run.
type copier struct {
	Options
	tables []store.Table
	all    content
	source string // its fingerprint
	key    string // store.FactMasterKey
	taken  time.Time
	still  bool // the source is one that nobody uses
	report Report
	// nodes of source and target, as they were when neither gave a sign of life
	here, there []masking.Node
}

// watch refuses databases that somebody uses, but for one that is backed up.
func (c *copier) watch(ctx context.Context) (err error) {
	if !c.Backup {
		if c.here, err = idle(ctx, c.From, c.Clock()); err != nil {
			return fmt.Errorf("source: %w", err)
		}
	}
	if c.there, err = idle(ctx, c.To, c.Clock()); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	return nil
}

// copyAll copies what a snapshot of the source has.
func (c *copier) copyAll(ctx context.Context, from store.Reader) error {
	if err := c.look(ctx, from); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := c.prepare(ctx); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	for _, t := range c.tables {
		if err := c.copyTable(ctx, from, t); err != nil {
			return err
		}
	}
	return nil
}

// look learns what the source has and refuses one that may not be read.
func (c *copier) look(ctx context.Context, from store.Reader) (err error) {
	c.taken = c.Clock().UTC().Truncate(time.Millisecond)
	if c.tables, c.all, err = contentOf(ctx, from); err != nil {
		return err
	}
	if c.Backup {
		c.all.Rows[states] = 0
	}
	is, err := readState(ctx, from)
	if err != nil {
		return err
	}
	switch {
	case is.Kind == copying:
		return errors.New("it is itself a copy that was not finished")
	case is.Kind == backup && c.Backup:
		return errors.New("it is itself a backup: copy the file")
	case is.Kind == "" && !c.Backup:
		c.still = true
		if err := still(ctx, from, c.here); err != nil {
			return err
		}
	}
	if c.source, err = fingerprint(ctx, from, c.all); err != nil {
		return err
	}
	c.key, err = from.Fact(ctx, store.FactMasterKey)
	return err
}

// prepare makes the target one that is being filled from this source: empty, or as an
// earlier run has left it.
func (c *copier) prepare(ctx context.Context) error {
	var was, is state
	err := c.To.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		if was, err = readState(ctx, tx); err != nil {
			return err
		}
		if err := c.fits(ctx, tx, was); err != nil {
			return err
		}
		c.report.Begun = true
		if is = was; is.Kind == copying && is.Source == c.source && !c.Replace {
			return nil
		}
		is = state{Kind: copying, Source: c.source}
		return is.write(ctx, tx)
	})
	if err != nil {
		return err
	}
	// A server that joined while that was written has not seen it, and is seen now; one
	// that joins later sees it.
	err = c.To.View(ctx, func(ctx context.Context, tx store.Reader) error { return still(ctx, tx, c.there) })
	if err != nil {
		undone := c.To.Update(ctx, func(ctx context.Context, tx store.Tx) error { return was.write(ctx, tx) })
		c.report.Begun = undone != nil || was.Kind == copying
		return errors.Join(err, undone)
	}
	if c.report.Resumed = is.Emptied; is.Emptied {
		return nil
	}
	for _, t := range slices.Backward(c.tables) {
		if err := c.empty(ctx, t); err != nil {
			return err
		}
	}
	is.Emptied = true
	return c.To.Update(ctx, func(ctx context.Context, tx store.Tx) error { return is.write(ctx, tx) })
}

// fits refuses a target that has another schema or is somebody's.
func (c *copier) fits(ctx context.Context, tx store.Tx, is state) error {
	tables, err := tx.Tables(ctx)
	if err != nil {
		return err
	}
	same := func(a, b store.Table) bool {
		return a.Name == b.Name && slices.Equal(a.Columns, b.Columns) && slices.Equal(a.Key, b.Key)
	}
	if !slices.EqualFunc(tables, c.tables, same) {
		return errors.New("it has other tables than the source")
	}
	switch is.Kind {
	case copying:
		return nil
	case backup:
		return errors.New("it is a backup, which nothing is written to")
	}
	if err := still(ctx, tx, c.there); err != nil || c.Replace {
		return err
	}
	for _, t := range tables {
		switch t.Name {
		case "node", "share", "audit_head": // a server was started on it, and nothing was done
			continue
		}
		some, err := tx.Rows(ctx, t, nil, 1)
		if err != nil {
			return err
		}
		if len(some) > 0 {
			return fmt.Errorf("%w: table %s has rows", ErrNotEmpty, t.Name)
		}
	}
	return nil
}

// empty removes all rows of a table.
func (c *copier) empty(ctx context.Context, t store.Table) error {
	for {
		n := 0
		err := c.To.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			n, err = tx.RemoveRows(ctx, t, rowsAtOnce)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// copyTable copies a table from where an earlier run has come to.
func (c *copier) copyTable(ctx context.Context, from store.Reader, t store.Table) error {
	if c.Backup && t.Name == states {
		return nil
	}
	p := Progress{Table: t.Name, Total: c.all.Rows[t.Name]}
	done, last, err := c.reached(ctx, t)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	p.Done = done
	for limit := fewRows; ; {
		c.tell(p)
		rows, err := from.Rows(ctx, t, last, limit)
		if err != nil {
			return fmt.Errorf("source: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		err = c.To.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.PutRows(ctx, t, rows) })
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		limit = suited(rows)
		last = keyOf(t, rows[len(rows)-1])
		p.Done += int64(len(rows))
		c.report.Rows += int64(len(rows))
	}
	c.report.Tables = append(c.report.Tables, p)
	return nil
}

// reached is how far an earlier run has come with a table: it wrote in the order of keys.
func (c *copier) reached(ctx context.Context, t store.Table) (done int64, last []any, err error) {
	err = c.To.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		if done, err = tx.CountRows(ctx, t); err != nil {
			return err
		}
		last, err = tx.LastKey(ctx, t)
		return err
	})
	return done, last, err
}

func keyOf(t store.Table, row store.Row) (key []any) {
	for _, name := range t.Key {
		key = append(key, row[slices.Index(t.Columns, name)])
	}
	return key
}

func (c *copier) tell(p Progress) {
	if c.Progress != nil {
		c.Progress(p)
	}
}

// finish compares what there is now with what was to be copied and makes the target one
// to serve from, or a backup.
func (c *copier) finish(ctx context.Context) error {
	if err := c.unchanged(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	is := state{}
	if c.Backup {
		is = state{Kind: backup, TakenAt: c.taken, Content: &c.all}
	}
	err := c.To.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.SetEventHead(ctx, c.all.Events) })
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	wrong, err := c.difference(ctx)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	err = c.To.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if wrong != nil {
			return state{Kind: copying}.write(ctx, tx) // of no source: going on would come to the same
		}
		if err := tx.SetFact(ctx, store.FactMasterKey, c.key); err != nil {
			return err
		}
		if err := tx.SetFact(ctx, store.FactFilled, c.source+" "+c.Clock().UTC().Format(time.RFC3339Nano)); err != nil {
			return err
		}
		return is.write(ctx, tx)
	})
	if err = errors.Join(wrong, err); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	return nil
}

// difference is what makes the target something else than what was to be copied; nil if
// nothing does.
func (c *copier) difference(ctx context.Context) (wrong, err error) {
	err = c.To.View(ctx, func(ctx context.Context, tx store.Reader) error {
		tables, found, err := contentOf(ctx, tx)
		if err != nil {
			return err
		}
		if wrong = c.all.same(tables, found); wrong != nil {
			wrong = fmt.Errorf("%w: something else wrote to it; the next run begins anew", wrong)
			return nil
		}
		return soundAudit(ctx, tx)
	})
	return wrong, err
}

// unchanged refuses a source that somebody has used while it was copied: what was
// copied is one moment's, but another run could not go on from it, and what came since
// would be missing.
func (c *copier) unchanged(ctx context.Context) error {
	if !c.still {
		return nil
	}
	return c.From.View(ctx, func(ctx context.Context, tx store.Reader) error {
		_, now, err := contentOf(ctx, tx)
		if err != nil {
			return err
		}
		print, err := fingerprint(ctx, tx, now)
		if err == nil && print != c.source {
			err = fmt.Errorf("it was used while it was copied: stop all servers on it, wait %v, and run the copy again", masking.Lease)
		}
		return err
	})
}
