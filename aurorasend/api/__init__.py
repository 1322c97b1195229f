"""One file per module of the API: declarations and thin handlers."""

from aurorasend.api import label, mail, sms, sms_template, template

ENDPOINTS = (*mail.ENDPOINTS, *label.ENDPOINTS, *template.ENDPOINTS, *sms.ENDPOINTS, *sms_template.ENDPOINTS)
