package webhook

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// newClient makes a client for the servers of tenants: public addresses alone
// unless others are allowed, no redirections, no proxy, little read of an answer.
func newClient(allowPrivate bool, timeout time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	if !allowPrivate {
		dialer.Control = onlyPublic
	}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, MaxIdleConnsPerHost: 2,
		MaxIdleConns: 64, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true}
	return &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// letter is what is sent, and under which id.
type letter struct {
	id   string
	at   time.Time
	body []byte
}

var (
	errSecret  = errors.New("the webhook secret cannot be used")
	errAddress = errors.New("the webhook address cannot be used")
)

// signed makes the request that brings a letter to a server, signed with each of the
// secrets as the Standard Webhooks specification says.
func signed(ctx context.Context, url string, l letter, secrets ...string) (*http.Request, error) {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		hook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, errSecret
		}
		if signatures[i], err = hook.Sign(l.id, l.at, l.body); err != nil {
			return nil, errSecret
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(l.body))
	if err != nil {
		return nil, errAddress
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Tandem"}, "Webhook-Id": {l.id},
		"Webhook-Timestamp": {strconv.FormatInt(l.at.Unix(), 10)}, "Webhook-Signature": {strings.Join(signatures, " ")}}
	return req, nil
}
