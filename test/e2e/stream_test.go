package e2e

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"tandem/internal/client"
)

func TestAStreamTellsOfACallAndEndsWhenTheServerStops(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	acme := st.Tenant("acme")
	c, err := client.New(client.Options{BaseURL: "http://" + st.App.Addrs().HTTP, AccountSID: acme.AccountSID, Token: acme.Token, HTTP: st.HTTP})
	st.must(err)
	told, ended := make(chan string, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(st.ctx)
	defer cancel()
	list, err := c.Events(st.ctx, "acme", client.EventFilter{})
	st.must(err)
	go func() {
		ended <- c.FollowEvents(ctx, "acme", list.NextCursor, func(e client.Event, _ string) error {
			told <- e.Type
			return nil
		})
	}()
	a, b := st.talk(alice, nil, nil)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	var types []string
	for len(types) < 3 {
		select {
		case typ := <-told:
			types = append(types, typ)
		case err := <-ended:
			t.Fatalf("the stream ended: %v", err)
		case <-st.ctx.Done():
			t.Fatalf("told only of %v", types)
		}
	}
	if !slices.Equal(types, []string{"call.ringing", "call.answered", "call.completed"}) {
		t.Errorf("told of %v", types)
	}
	st.settle()
	st.must(st.App.Stop(st.ctx))
	select {
	case err := <-ended:
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the stream ended with %v", err)
		}
	case <-st.ctx.Done():
		t.Error("the stream goes on")
	}
}
