package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/callflow"
)

// resume takes up the calls that talked when the last run was cut short, and closes
// the records of all others. Nothing is sent before Verify; no socket is open yet.
func (a *App) resume(ctx context.Context) error {
	if err := a.catchUp(ctx); err != nil {
		return fmt.Errorf("write what the last run could not: %w", err)
	}
	left, err := a.journal.Left(ctx)
	if err != nil {
		return fmt.Errorf("read the calls of the last run: %w", err)
	}
	down := a.outage()
	until := time.Now().Add(-down)
	open := a.media.Resume
	if down > callflow.LongestOutage {
		open = nil
	}
	goOn := a.resumeCalls(left, until, open)
	lost, err := a.journal.CloseLost(ctx, goOn, until)
	if err != nil {
		return fmt.Errorf("close the records of the last run: %w", err)
	}
	if lost+len(goOn) > 0 {
		a.log.Warn("calls were up when the last run ended", "lost", lost, "go_on", len(goOn), "down_seconds", int(down.Seconds()))
	}
	_, err = a.showLife(ctx, 1)
	return err
}

// resumeCalls takes calls up, and gives the states of those that go on.
func (a *App) resumeCalls(left []callflow.Left, until time.Time, open func([]byte) (b2bua.Session, error)) map[masking.CallID][]byte {
	goOn := map[masking.CallID][]byte{}
	for _, l := range left {
		state, err := a.resumeSafely(l, until, open)
		if err != nil {
			a.log.Warn("a call cannot be taken up again", "call", string(l.Call.ID), "error", err.Error())
			continue
		}
		goOn[l.Call.ID] = state
	}
	return goOn
}

// resumeSafely takes one call up. A fault costs that call alone: it would meet the next
// node as well.
func (a *App) resumeSafely(l callflow.Left, until time.Time, open func([]byte) (b2bua.Session, error)) (state []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil { // its text may hold a number
			a.log.Error("fault in a call", "call", string(l.Call.ID), "fault", fmt.Sprintf("%T", fault), "stack", string(debug.Stack()))
			err = errors.New("a fault")
		}
	}()
	return a.resumeCall(l, until, open)
}

// resumeCall takes one call up, whose media open opens. One whose media cannot be, as
// where its ports are another's by now, is taken up to be hung up; so is one whose peers
// nobody has heard of for too long: then open is nil.
func (a *App) resumeCall(l callflow.Left, until time.Time, open func([]byte) (b2bua.Session, error)) ([]byte, error) {
	st, err := b2bua.ReadState(l.State)
	if err != nil {
		return nil, err
	}
	r := b2bua.Resumed{Call: l.Call, Plan: l.Plan, State: st, Until: until}
	undo := func() {
		for _, leg := range r.Legs {
			switch {
			case leg == nil:
			case a.exchange.Draining(): // another node may take it
				leg.Abandon()
			default: // at a start nothing can be sent yet, and it is just gone; of another node it is hung up
				leg.End(b2bua.Reason{Cause: masking.CauseNodeLost})
			}
		}
	}
	for _, side := range []b2bua.Side{b2bua.A, b2bua.B} {
		if r.Legs[side], err = a.agent.Resume(l.Call.ID, []byte(st.Sides[side].Sent), st.Legs[side]); err != nil {
			undo()
			return nil, err
		}
	}
	if open != nil {
		session, err := open(st.Media)
		if err != nil {
			a.log.Warn("the media of a call cannot be taken up again", "call", string(l.Call.ID), "error", err.Error())
		} else {
			r.Media = session
		}
	}
	r.Release = a.director.Resumed(l.Plan)
	state, err := a.exchange.Resume(r)
	if err != nil {
		undo()
		r.Release()
		if r.Media != nil {
			r.Media.Close()
		}
	}
	return state, err
}

// outage is for how long nothing has run on the folder; 0 if that is not known.
func (a *App) outage() time.Duration {
	info, err := os.Stat(filepath.Join(a.o.Config.DataDir, aliveFile))
	if err != nil {
		return 0
	}
	return max(0, time.Since(info.ModTime()))
}

// showLife notes that the node runs. What it notes outlives the process, which is all
// that is asked of it.
func (a *App) showLife(context.Context, int) (int, error) {
	path, now := filepath.Join(a.o.Config.DataDir, aliveFile), time.Now()
	err := os.Chtimes(path, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(path, nil, 0o600)
	}
	return 0, err
}
