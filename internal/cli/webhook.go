package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

func (p *program) webhookCommand() *cobra.Command {
	g := p.api("webhook", "Webhooks: endpoints that are told of events (as the tenant)")
	g.add(verb{use: "list", short: "List endpoints", args: exactly(),
		columns: []string{"webhook_id", "url", "event_types", "active", "include_numbers", "pending", "dead_letters"},
		run: asOwn(func(ctx context.Context, s *session, tenant string, _ []string) error {
			_, err := s.Webhooks(ctx, tenant)
			return err
		})})
	g.add(verb{use: "get WEBHOOK_ID", short: "Show an endpoint", args: exactly("WEBHOOK_ID"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			_, err := s.Webhook(ctx, tenant, args[0])
			return err
		})})
	g.webhookWriters()
	g.webhookDeliveries()
	return g.cmd
}

// asOwn runs a verb as the tenant.
func asOwn(run func(ctx context.Context, s *session, tenant string, args []string) error) func(context.Context, *session, []string) error {
	return func(ctx context.Context, s *session, args []string) error {
		tenant, err := s.asTenant()
		if err != nil {
			return err
		}
		return run(ctx, s, tenant, args)
	}
}

func (g *apiGroup) webhookWriters() {
	var url string
	var types []string
	var active, numbers bool
	flags := func(cmd *cobra.Command) {
		cmd.Flags().StringSliceVar(&types, "event", nil, "type of event; may be repeated (at first: every type)")
		cmd.Flags().BoolVar(&active, "active", true, "whether it is sent to; while not, events wait")
		cmd.Flags().BoolVar(&numbers, "include-numbers", true, "whether payloads hold people's numbers")
	}
	given := func(cmd *cobra.Command) client.WebhookChange {
		return client.WebhookChange{EventTypes: changed(cmd, "event", &types), Active: changed(cmd, "active", &active),
			IncludeNumbers: changed(cmd, "include-numbers", &numbers)}
	}
	create := g.add(verb{use: "create URL", short: "Make an endpoint; prints its secret, once", args: exactly("URL"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			in := given(s.cmd)
			in.URL = &args[0]
			_, err := s.CreateWebhook(ctx, tenant, in)
			return err
		})})
	flags(create)
	update := g.add(verb{use: "update WEBHOOK_ID", short: "Change an endpoint; what is not given stays", args: exactly("WEBHOOK_ID"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			in := given(s.cmd)
			in.URL = changed(s.cmd, "url", &url)
			_, err := s.ChangeWebhook(ctx, tenant, args[0], in)
			return err
		})})
	flags(update)
	update.Flags().StringVar(&url, "url", "", "http or https address")
	g.add(verb{use: "delete WEBHOOK_ID", short: "Remove an endpoint and its deliveries", args: exactly("WEBHOOK_ID"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			return s.DeleteWebhook(ctx, tenant, args[0])
		})})
	g.add(verb{use: "rotate WEBHOOK_ID", short: "Give an endpoint another secret, printed once; the one before signs too for 24 hours", args: exactly("WEBHOOK_ID"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			_, err := s.RotateWebhookSecret(ctx, tenant, args[0])
			return err
		})})
	g.add(verb{use: "test WEBHOOK_ID", short: "Send a test to an endpoint, and print what came of it", args: exactly("WEBHOOK_ID"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			_, err := s.TestWebhook(ctx, tenant, args[0])
			return err
		})})
}

func (g *apiGroup) webhookDeliveries() {
	var filter client.DeliveryFilter
	var at *client.Page
	var since, until string
	list := g.add(verb{use: "deliveries WEBHOOK_ID", short: "List the deliveries to an endpoint, newest event first", args: exactly("WEBHOOK_ID"),
		columns: []string{"event_id", "type", "status", "tries", "last_outcome", "next_attempt_at", "finished_at", "timestamp"},
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) (err error) {
			filter.Page = *at
			if filter.Since, err = s.time("since", since); err != nil {
				return err
			}
			if filter.Until, err = s.time("until", until); err != nil {
				return err
			}
			_, err = s.Deliveries(ctx, tenant, args[0], filter)
			return err
		})})
	at = paging(list)
	list.Flags().StringVar(&filter.Status, "status", "", "queued, pending, delivered or dead")
	list.Flags().StringVar(&since, "since", "", "only those of events of then or later (RFC 3339)")
	list.Flags().StringVar(&until, "until", "", "only those of events before (RFC 3339)")
	g.add(verb{use: "delivery WEBHOOK_ID EVENT_ID", short: "Show a delivery with its attempts", args: exactly("WEBHOOK_ID", "EVENT_ID"),
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			_, err := s.Delivery(ctx, tenant, args[0], args[1])
			return err
		})})
	g.webhookReplay()
}

func (g *apiGroup) webhookReplay() {
	var event string
	var in client.ReplayRequest
	replay := g.add(verb{use: "replay WEBHOOK_ID", short: "Send again: all dead letters, one event, or every event of a time", args: exactly("WEBHOOK_ID"),
		example: `  tandem webhook replay wh_…                                     all dead letters
  tandem webhook replay wh_… --event evt_…                       one event
  tandem webhook replay wh_… --any --since 2024-06-15T00:00:00Z  every event since then`,
		run: asOwn(func(ctx context.Context, s *session, tenant string, args []string) error {
			if event != "" {
				_, err := s.ReplayDelivery(ctx, tenant, args[0], event)
				return err
			}
			if every, _ := s.cmd.Flags().GetBool("any"); every {
				in.Status = "any"
			}
			all := client.Replayed{}
			for in.Cursor = ""; ; in.Cursor = all.NextCursor {
				some, err := s.Replay(ctx, tenant, args[0], in)
				if err != nil {
					return err
				}
				all = client.Replayed{Replayed: all.Replayed + some.Replayed, NextCursor: some.NextCursor}
				if all.NextCursor == "" {
					return s.answered(all)
				}
			}
		})})
	replay.Flags().StringVar(&event, "event", "", "the id of one event")
	replay.Flags().Bool("any", false, "every event, not dead letters alone")
	replay.Flags().StringVar(&in.Since, "since", "", "only events of then or later (RFC 3339)")
	replay.Flags().StringVar(&in.Until, "until", "", "only events before (RFC 3339)")
}

// answered makes what several requests came to the answer that is printed.
func (s *session) answered(response any) error {
	b, err := json.Marshal(map[string]any{"response": response})
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	s.answers.last = b
	return nil
}
