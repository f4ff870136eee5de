// The Go module centrifuge-go, driven from outside: see ../centrifuge_js.mjs, its twin.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

type object = map[string]any

const callTimeout = 10 * time.Second

var (
	isProtobuf bool
	output     sync.Mutex
	client     *centrifuge.Client
)

func say(line object) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

// The SDK gives bytes in both encodings; those that are no JSON come as over JSON.
func decoded(data []byte) any {
	if len(data) == 0 {
		return nil
	}
	if json.Valid(data) {
		return json.RawMessage(data)
	}
	return object{"b64": base64.StdEncoding.EncodeToString(data)}
}

func publication(channel string, pub centrifuge.Publication) {
	line := object{"event": "publication", "channel": channel, "data": decoded(pub.Data), "offset": pub.Offset,
		"publisher": nil, "tags": object{}}
	if pub.Info != nil {
		line["publisher"] = pub.Info.Client
	}
	if pub.Tags != nil {
		line["tags"] = pub.Tags
	}
	say(line)
}

func subscribed(channel string, wasRecovering, recovered bool, position *centrifuge.StreamPosition, data []byte) {
	line := object{"event": "subscribed", "channel": channel, "wasRecovering": wasRecovering, "recovered": recovered,
		"data": decoded(data)}
	if position != nil {
		line["epoch"] = position.Epoch
	}
	say(line)
}

func publications(result centrifuge.HistoryResult) object {
	list := []object{}
	for _, each := range result.Publications {
		list = append(list, object{"offset": each.Offset, "data": decoded(each.Data)})
	}
	return object{"publications": list, "offset": result.Offset, "epoch": result.Epoch}
}

// What a command takes; each reads what is its own.
type options struct {
	URL         string
	PingSlackMs int64
	Channel     string
	JoinLeave   bool
	Delta       string
	TagsFilter  *filter
	Token       string
	Tokens      []*string
	States      []centrifuge.StreamPosition
	Data        json.RawMessage
	Limit       int32
	Since       *centrifuge.StreamPosition
	Reverse     bool
	Method      string
}

type filter struct {
	Op    string
	Key   string
	Cmp   string
	Val   string
	Nodes []*filter
}

func (f *filter) node() *centrifuge.FilterNode {
	switch {
	case f.Op == "and":
		nodes := []*centrifuge.FilterNode{}
		for _, each := range f.Nodes {
			nodes = append(nodes, each.node())
		}
		return centrifuge.FilterAnd(nodes...)
	case f.Cmp == "ex":
		return centrifuge.FilterExists(f.Key)
	case f.Cmp == "gte":
		return centrifuge.FilterGte(f.Key, f.Val)
	}
	panic(fmt.Sprintf("no test has used the filter %v yet", *f))
}

// Gives one token after the other, and says so; null is a failure of the application.
func giver(event string, channel string, tokens []*string) func() (string, error) {
	var mutex sync.Mutex
	return func() (string, error) {
		mutex.Lock()
		defer mutex.Unlock()
		line := object{"event": event}
		if channel != "" {
			line["channel"] = channel
		}
		say(line)
		if len(tokens) == 0 {
			return "", centrifuge.ErrUnauthorized
		}
		next := tokens[0]
		tokens = tokens[1:]
		if next == nil {
			return "", errors.New("the application has no token at the moment")
		}
		return *next, nil
	}
}

func connect(given options) (any, error) {
	slack := given.PingSlackMs
	if slack == 0 {
		slack = 10_000
	}
	config := centrifuge.Config{
		Token:              given.Token,
		MinReconnectDelay:  10 * time.Millisecond,
		MaxReconnectDelay:  100 * time.Millisecond,
		MaxServerPingDelay: time.Duration(slack) * time.Millisecond,
	}
	if given.Tokens != nil {
		next := giver("token", "", given.Tokens)
		config.GetToken = func(centrifuge.ConnectionTokenEvent) (string, error) { return next() }
	}
	if isProtobuf {
		client = centrifuge.NewProtobufClient(given.URL, config)
	} else {
		client = centrifuge.NewJsonClient(given.URL, config)
	}
	ready := make(chan error, 1)
	client.OnConnected(func(event centrifuge.ConnectedEvent) {
		say(object{"event": "connected", "client": event.ClientID})
		select {
		case ready <- nil:
		default:
		}
	})
	client.OnConnecting(func(event centrifuge.ConnectingEvent) {
		say(object{"event": "connecting", "code": event.Code, "reason": event.Reason})
	})
	client.OnDisconnected(func(event centrifuge.DisconnectedEvent) {
		say(object{"event": "disconnected", "code": event.Code, "reason": event.Reason})
		select {
		case ready <- errors.New(event.Reason):
		default:
		}
	})
	// Of the subscriptions that the server makes.
	client.OnSubscribed(func(event centrifuge.ServerSubscribedEvent) {
		subscribed(event.Channel, event.WasRecovering, event.Recovered, event.StreamPosition, event.Data)
	})
	client.OnUnsubscribed(func(event centrifuge.ServerUnsubscribedEvent) {
		say(object{"event": "unsubscribed", "channel": event.Channel})
	})
	client.OnPublication(func(event centrifuge.ServerPublicationEvent) {
		publication(event.Channel, event.Publication)
	})
	_ = client.Connect() // of the first attempt alone: others follow
	return nil, <-ready
}

func subscriptionOf(given options) (*centrifuge.Subscription, error) {
	channel := given.Channel
	if known, ok := client.GetSubscription(channel); ok {
		return known, nil
	}
	config := centrifuge.SubscriptionConfig{
		Positioned: true, Recoverable: true, JoinLeave: given.JoinLeave, Delta: centrifuge.DeltaType(given.Delta),
		Token:               given.Token,
		MinResubscribeDelay: 10 * time.Millisecond,
		MaxResubscribeDelay: 100 * time.Millisecond,
	}
	if given.TagsFilter != nil {
		config.TagsFilter = given.TagsFilter.node()
	}
	if given.Tokens != nil {
		next := giver("token", channel, given.Tokens)
		config.GetToken = func(centrifuge.SubscriptionTokenEvent) (string, error) { return next() }
	}
	if states := given.States; states != nil {
		config.GetState = func(centrifuge.SubscriptionGetStateEvent) (centrifuge.StreamPosition, error) {
			say(object{"event": "state", "channel": channel})
			state := states[0]
			states = states[1:]
			return state, nil
		}
	}
	made, err := client.NewSubscription(channel, config)
	if err != nil {
		return nil, err
	}
	made.OnSubscribed(func(event centrifuge.SubscribedEvent) {
		subscribed(channel, event.WasRecovering, event.Recovered, event.StreamPosition, event.Data)
	})
	made.OnUnsubscribed(func(event centrifuge.UnsubscribedEvent) {
		say(object{"event": "unsubscribed", "channel": channel, "code": event.Code, "reason": event.Reason})
	})
	made.OnPublication(func(event centrifuge.PublicationEvent) { publication(channel, event.Publication) })
	made.OnJoin(func(event centrifuge.JoinEvent) {
		say(object{"event": "join", "channel": channel, "client": event.Client})
	})
	made.OnLeave(func(event centrifuge.LeaveEvent) {
		say(object{"event": "leave", "channel": channel, "client": event.Client})
	})
	return made, nil
}

func subscribe(given options) (any, error) {
	subscription, err := subscriptionOf(given)
	if err != nil {
		return nil, err
	}
	return nil, subscription.Subscribe()
}

func unsubscribe(given options) (any, error) {
	subscription, _ := client.GetSubscription(given.Channel)
	return nil, subscription.Unsubscribe()
}

func people(ctx context.Context, channel string, value func(centrifuge.ClientInfo) any) (any, error) {
	result, err := client.Presence(ctx, channel)
	list := object{}
	for id, info := range result.Clients {
		list[id] = value(info)
	}
	return list, err
}

func carryOut(command string, given options) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	switch command {
	case "connect":
		return connect(given)
	case "subscribe":
		return subscribe(given)
	case "unsubscribe":
		return unsubscribe(given)
	case "publish":
		_, err := client.Publish(ctx, given.Channel, given.Data)
		return nil, err
	case "history":
		result, err := client.History(ctx, given.Channel, centrifuge.WithHistoryLimit(given.Limit),
			centrifuge.WithHistorySince(given.Since), centrifuge.WithHistoryReverse(given.Reverse))
		return publications(result), err
	case "presence":
		return people(ctx, given.Channel, func(info centrifuge.ClientInfo) any { return info.User })
	case "presenceInfo":
		return people(ctx, given.Channel, func(info centrifuge.ClientInfo) any { return decoded(info.ChanInfo) })
	case "presenceStats":
		result, err := client.PresenceStats(ctx, given.Channel)
		return object{"clients": result.NumClients, "users": result.NumUsers}, err
	case "rpc":
		result, err := client.RPC(ctx, given.Method, given.Data)
		return decoded(result.Data), err
	case "disconnect":
		return nil, client.Disconnect()
	}
	return nil, fmt.Errorf("there is no command %q", command)
}

func answer(line []byte) {
	var asked struct {
		ID      int
		Command string
		options
	}
	if err := json.Unmarshal(line, &asked); err != nil {
		panic(err)
	}
	result, err := carryOut(asked.Command, asked.options)
	var refused *centrifuge.Error
	switch {
	case errors.As(err, &refused):
		say(object{"id": asked.ID, "error": refused.Code})
	case err != nil:
		say(object{"id": asked.ID, "error": err.Error()})
	default:
		say(object{"id": asked.ID, "result": result})
	}
}

func main() {
	isProtobuf = os.Args[1] == "protobuf"
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		go answer(line)
	}
}
