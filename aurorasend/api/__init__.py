"""One file per module of the API: declarations and thin handlers."""

from aurorasend.api import (
    address_list,
    address_member,
    api_user,
    calendar,
    domain,
    label,
    mail,
    route,
    sms,
    sms_template,
    template,
    track_domain,
    user_info,
    webhook,
)

ENDPOINTS = (
    *mail.ENDPOINTS,
    *calendar.ENDPOINTS,
    *label.ENDPOINTS,
    *template.ENDPOINTS,
    *address_list.ENDPOINTS,
    *address_member.ENDPOINTS,
    *domain.ENDPOINTS,
    *track_domain.ENDPOINTS,
    *api_user.ENDPOINTS,
    *user_info.ENDPOINTS,
    *webhook.ENDPOINTS,
    *route.ENDPOINTS,
    *sms.ENDPOINTS,
    *sms_template.ENDPOINTS,
)
