package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// What is read of an answer, and what is kept of it. Whether it is a success is told
// by its status alone.
const (
	readAnswer = 4 << 10
	keepAnswer = 1 << 10
	answerWait = time.Second // for the body, once the status is there
)

// send makes one request to an endpoint.
func (d *Deliverer) send(ctx context.Context, w masking.Webhook, e masking.Event, zone *time.Location) masking.DeliveryAttempt {
	a := masking.DeliveryAttempt{At: d.o.Clock(), Outcome: masking.OutcomeInternal}
	secrets, err := d.secrets(w, a.At)
	if err != nil {
		return a
	}
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	ctx, cancel := context.WithCancel(httptrace.WithClientTrace(ctx, trace))
	defer cancel()
	req, err := signed(ctx, w.URL, letter{string(e.ID), a.At, w.Payload(e, zone)}, secrets...)
	if err != nil {
		return a
	}
	// The id makes it safe to repeat: a connection that was closed while it was idle is
	// no failure. Without a value the header is not sent (net/http, Transport).
	req.Header["Idempotency-Key"] = nil
	var late atomic.Bool
	limit := time.AfterFunc(d.o.Timeout, func() { late.Store(true); cancel() })
	defer limit.Stop()
	start := time.Now()
	res, err := d.client.Do(req)
	a.Took = time.Since(start)
	if err != nil {
		a.Outcome = outcomeOf(err, late.Load(), connected.Load())
		return a
	}
	limit.Reset(answerWait)
	a.Status, a.Outcome = res.StatusCode, outcome(res.StatusCode)
	body, _ := io.ReadAll(io.LimitReader(res.Body, readAnswer)) // as far as it comes
	_ = res.Body.Close()
	a.Response = excerpt(body)
	return a
}

// secrets are those that sign now, the present one first.
func (d *Deliverer) secrets(w masking.Webhook, now time.Time) ([]string, error) {
	secret, err := d.o.Open(w.ID, w.Secret)
	if err != nil || len(w.OldSecret) == 0 || !now.Before(w.OldUntil) {
		return []string{secret}, err
	}
	old, err := d.o.Open(w.ID, w.OldSecret)
	return []string{secret, old}, err
}

func outcome(status int) masking.DeliveryOutcome {
	switch {
	case status >= 200 && status < 300:
		return masking.OutcomeDelivered
	case status >= 300 && status < 400:
		return masking.OutcomeRedirect
	case status == http.StatusGone:
		return masking.OutcomeGone
	}
	return masking.OutcomeStatus
}

// outcomeOf tells what an error of net/http comes to. Its text, which holds the
// address, goes no further.
func outcomeOf(err error, late, connected bool) masking.DeliveryOutcome {
	var timeout net.Error
	switch {
	case errors.Is(err, errForbidden):
		return masking.OutcomeForbidden
	case late || (errors.As(err, &timeout) && timeout.Timeout()):
		return masking.OutcomeTimeout
	case connected:
		return masking.OutcomeClosed
	}
	return masking.OutcomeUnreachable
}

// excerpt is what the log of deliveries keeps of an answer.
func excerpt(body []byte) string {
	text := e164.HideAll(strings.ToValidUTF8(string(body), "�"))
	text = strings.ReplaceAll(text, "\x00", "�")
	if len(text) > keepAnswer {
		text = strings.ToValidUTF8(text[:keepAnswer], "") + "…"
	}
	return text
}
