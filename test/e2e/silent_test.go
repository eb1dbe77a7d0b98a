package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"

	server "tandem/internal/testkit/postgres"
	"tandem/internal/voice/phone"
)

// throughTunnel is two talks on a database to which a tunnel leads.
func throughTunnel(t *testing.T) (*stage, *server.Tunnel, [2][2]*phone.Call) {
	t.Helper()
	srv := server.Start(t)
	way := server.NewTunnel(t, srv.Port)
	st := newStage(t, setting{sharing: "shared", environ: []string{"TANDEM_DATABASE_URL=" + way.URL(srv.Database(t, ""))}})
	talks := st.talkers()
	st.until("the answers to be written", func() bool { return st.App.Leftovers().Entries == 0 })
	return st, way, talks
}

// What was connected to it is given up, and what happens meanwhile is written by the next.
func TestADatabaseWhoseHostDiesIsReplacedByTheNextAndDoublesNothing(t *testing.T) {
	st, way, talks := throughTunnel(t)
	way.Die()
	st.must(talks[1][1].Hangup(st.ctx))
	st.over(talks[1][0], talks[1][1])
	st.hear(talks[0])
	way.GivenUp(t)
	st.until("readiness", func() bool { status, _ := st.ops("/readyz"); return status == 200 })
	st.must(talks[0][0].Hangup(st.ctx))
	st.over(talks[0][0], talks[0][1])
	st.settle()
	st.closedOnce(map[string]int{"caller_hung_up": 1, "callee_hung_up": 1})
}

func TestADatabaseThatFallsSilentHoldsNoCallUpAndDoublesNothing(t *testing.T) {
	st, way, talks := throughTunnel(t)
	speak := way.FallSilent()
	defer speak()
	st.must(talks[1][1].Hangup(st.ctx))
	st.over(talks[1][0], talks[1][1])
	late := st.dial(st.in, dave)
	if status := st.refused(late); status != 503 || !saysWhenToComeBack(late) {
		t.Errorf("a new call got %d", status)
	}
	st.until("the end to be on disk", func() bool {
		_, text := st.ops("/metrics")
		return regexp.MustCompile(`(?m)^tandem_journal_spooled [1-9]`).MatchString(text)
	})
	st.until("it to be taken for away", func() bool { return strings.Contains(st.Log.String(), "the database is away: talks go on") })
	st.refusedForNow("GET", "/v1/tenants/acme/calls", nil)
	st.hear(talks[0])

	speak()
	st.until("readiness", func() bool { status, _ := st.ops("/readyz"); return status == 200 })
	st.hear(talks[0])
	st.must(talks[0][0].Hangup(st.ctx))
	st.over(talks[0][0], talks[0][1])
	st.settle()
	st.closedOnce(map[string]int{"caller_hung_up": 1, "callee_hung_up": 1})
}

// What waits for an answer is given 15 s, but not by a node that is to stop.
func TestAStopWhileTheDatabaseIsSilentIsOverBeforeItSpeaks(t *testing.T) {
	srv := server.Start(t)
	way := server.NewTunnel(t, srv.Port)
	st := newStage(t, setting{sharing: "shared", environ: []string{"TANDEM_DATABASE_URL=" + way.URL(srv.Database(t, ""))}})
	speak := way.FallSilent()
	defer speak()
	st.until("it to be taken for away", func() bool { return strings.Contains(st.Log.String(), "the database is away: talks go on") })
	stopped := make(chan error, 1)
	go func() { stopped <- st.App.Stop(st.ctx) }()
	select {
	case err := <-stopped:
		st.must(err)
	case <-time.After(10 * time.Second):
		t.Error("the stop waits for the database")
		<-stopped
	}
}
