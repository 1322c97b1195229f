"""An open email and SMS sending platform that speaks AuroraSendCloud's API.

The map: the modules in the order of a message's life.

    cli, operate            the commands, and what an operator asks and changes with them
    config                  every setting, declared once
    app, node               build a node from the settings: store, roles, listeners
    logs                    what is written, and what never is
    membership              this process among the nodes: its number, its lease
    bootstrap               accounts for development and tests

    http_listener           connections, spread evenly over the workers
    http, http_connection   a request comes in, within limits
    carrier                 what it carried, wherever it carried it
    endpoint, fields        an endpoint and its parameters, declared once
    codes                   every return code, said once
    allowance               calls per minute
    source                  from where mail is sent
    account, sms_login      who calls, and what the caller may do
    api                     the endpoints
    portal, console         pages for people: reference; sandbox

    domain, tracking_domain what a customer may send with and link by, and what DNS has of it
    api_user, permission    who may call for an account, and what
    webhook, inbound_route  where events and inbound mail go
    http_guard              the one client for what goes out by HTTP

    intake                  a submission on its way in, and its rows
    submission              accept(): the one way in, one transaction
    charge                  balance, quota, and what comes after them
    content, attachment     what a customer handed over
    xsmtpapi, variable      recipients of separate mails, and what is filled in for each
    label                   one label per mail, made on the way
    template, markup        whole mails made before; what the platform adds to html
    calendar                appointments in mail
    contact                 address lists and their members
    address, phone          addresses and numbers: read, checked, compared

    store                   the only SQL; SQLite and PostgreSQL
    ids, secret, clock      numbers for rows, secrets at rest, the time
    queue, wake             what is due; who is woken for it
    busy                    a busy process waits for company before it writes
    lanes                   what this process works on, and has room for
    handover                mail that it claims as it accepts it
    dispatch                lane by lane to those who work on it, then settled

    list_send               a mail to a list becomes recipients, a few at a time
    delivery                one recipient, named steps, one outcome
    letters                 submissions parsed once, within a budget of memory
    suppression             who must not be mailed
    message, header         the bytes of one recipient's mail
    dkim, return_path       its signature; the way back for its bounces
    routes, mx, resolver    where it goes
    pool                    connections to next hops, used again
    smtp_client, smtp_wire  the talk with the next hop
    outcome, retry, quiet   what became of an attempt; when the next one is, and when none is made
    sandbox                 what is caught instead of sent

    sms, sms_template       short messages, the way in
    sms_text, sms_signature the text and its pieces; proof of the key
    sms_delivery            short messages, the way out
    sms_outcome, gateways   what became of one; what carries them

    event                   the one recorder: event, counters, suppression, webhook posts
    statistics              what the counters tell a customer
    email_status            what became of single mails
    sweep, retention        removes what is kept no longer
    explain                 a message's whole life, in order
    simulator               a fake internet whose recipients choose their fate
"""
