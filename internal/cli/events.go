package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

// eventsCommand is "tandem events".
func (p *program) eventsCommand() *cobra.Command {
	g := p.api("events", "What happened: list it, follow it")
	var filter client.EventFilter
	var at *client.Page
	var since, until string
	list := g.add(verb{use: "list", short: "List events, oldest first (as the tenant)", args: exactly(),
		columns: []string{"id", "type", "timestamp", "greenvn_id", "greenpin_id", "call_sid"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err != nil {
				return err
			}
			filter.Page = *at
			if filter.Since, err = s.time("since", since); err != nil {
				return err
			}
			if filter.Until, err = s.time("until", until); err != nil {
				return err
			}
			_, err = s.Events(ctx, tenant, filter)
			return err
		}})
	at = paging(list)
	list.Flags().StringVar(&since, "since", "", "only those of that time or later (RFC 3339)")
	list.Flags().StringVar(&until, "until", "", "only those before (RFC 3339)")
	g.cmd.AddCommand(p.followCommand(g))
	return g.cmd
}

// followCommand is "tandem events follow": a line of JSON for each event, until it is
// interrupted. It asks again when the server ends the stream.
func (p *program) followCommand(g *apiGroup) *cobra.Command {
	var after string
	cmd := &cobra.Command{Use: "follow", Args: exactly(), Short: "Print events as they happen, one line of JSON each (as the tenant)",
		Example: "  tandem events follow | jq -c '[.type, .call_sid]'"}
	cmd.Flags().StringVar(&after, "after", "", "begin behind this cursor of \"events list\"; without it: with what comes now")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := g.session(cmd)
		if err != nil {
			return err
		}
		tenant, err := s.asTenant()
		if err != nil {
			return err
		}
		c, err := s.unhurried()
		if err != nil {
			return err
		}
		return explained(followOn(cmd.Context(), c, tenant, after, s.out))
	}
	return cmd
}

// askAgain is how long to wait before a stream is asked for that has ended.
const askAgain = 2 * time.Second

func followOn(ctx context.Context, c *client.Client, tenant, after string, out io.Writer) error {
	for {
		err := c.FollowEvents(ctx, tenant, after, func(e client.Event, place string) error {
			after = place
			line, err := json.Marshal(e)
			if err == nil {
				_, err = fmt.Fprintf(out, "%s\n", line)
			}
			return err
		})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		wait := time.NewTimer(askAgain)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}
