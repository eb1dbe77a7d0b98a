package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxLine bounds a line of a stream.
const maxLine = 1 << 20

// FollowEvents reads events as they are written, and gives each to got with the
// place behind which to go on. after is such a place, or a cursor of the list of
// events; "" begins with what comes now. It ends with ctx, with an error of got, or
// when the server ends the stream, which it may at any time: io.ErrUnexpectedEOF. Then
// ask again with the last place. The client's HTTP must have no time-out of its own.
func (c *Client) FollowEvents(ctx context.Context, tenant, after string, got func(e Event, place string) error) error {
	q := url.Values{}
	put(q, "cursor", after)
	req, err := c.prepare(ctx, asTenant, request{method: http.MethodGet, path: own(tenant, "events", "stream"), query: q})
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // given up in any case
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what came of it says enough
		return errorOf(resp, body)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	var place, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case name == "id":
			place = value
		case name == "data":
			data = value
		case lines.Text() == "" && data != "":
			var e Event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				return fmt.Errorf("the stream is not the API's: %w", err)
			}
			if err := got(e, place); err != nil {
				return err
			}
			data = ""
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read the stream: %w", err)
	}
	return io.ErrUnexpectedEOF
}
